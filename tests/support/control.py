"""A controller inside the test's own event loop, on a real API server; agents are played by writing their statuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from api import keys
from api.resources import API_VERSION
from controller.config import Config, Sources
from controller.manager import run
from controller.objects.resources import MODEL, NODE_CACHE
from kube.client import ApiError, Client, Object
from kube.resources import CONFIG_MAP, MUTATING_WEBHOOK, NAMESPACE, NODE, POD, SECRET
from tests.support import crds
from tests.support.installation import eventually
from tests.support.processes import free_port

CRD_FOLDER = Path(__file__).parents[2] / "deploy" / "chart" / "crds"
HOME = "warmset-home"  # the controller's namespace
TEAM = "team"
REVISION = "sha256:" + "a" * 64
TREE = "sha256:" + "b" * 64
MODEL_BYTES = 1000
GPU = "nvidia.com/gpu"


class Control:
    """One running controller."""

    def __init__(self, client: Client, *, identity: str, **settings: Any) -> None:
        self.client = client
        self.https, self.http = free_port(), free_port()
        self.config = Config(
            namespace=HOME,
            listen_https=f"127.0.0.1:{self.https}",
            listen_http=f"127.0.0.1:{self.http}",
            certificate_hosts=("127.0.0.1",),
            sources=Sources(hosts=("127.0.0.1:1", "*"), plain_http=("127.0.0.1:9",)),
            **settings,
        )
        self._identity = identity
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(run(self.client, self.config, identity=self._identity, stop=self._stop))

    @property
    def failure(self) -> BaseException | None:
        done = self._task is not None and self._task.done() and not self._task.cancelled()
        return self._task.exception() if done and self._task is not None else None

    async def stop(self) -> None:
        self._stop.set()
        if self._task is not None:
            await asyncio.wait_for(self._task, 20)

    async def kill(self) -> None:
        """Without any farewell, as SIGKILL would."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def controlling(
    client: Client, *, identity: str = "one", webhook: bool = True, **settings: Any
) -> AsyncIterator[Control]:
    """A controller that leads and whose webhook answers. ``settings`` are those of its configuration."""
    for name in (HOME, TEAM):
        await client.patch(
            NAMESPACE, name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, kind="apply"
        )
    control = Control(client, identity=identity, **settings)
    if webhook:
        await _configure_webhook(client, control.https)
    control.start()
    try:
        if webhook:
            await eventually(lambda: _trusted(client, control), what="the webhook's caBundle")
        yield control
    finally:
        await control.kill()
        await _forget(client, MUTATING_WEBHOOK, "warmset-pods", None)
        await _forget(client, SECRET, "warmset-tls", HOME)
        await _forget(client, CONFIG_MAP, "warmset-ca", HOME)


async def _configure_webhook(client: Client, port: int) -> None:
    asks = "has(object.metadata.annotations) && 'warmset.dev/model' in object.metadata.annotations"
    webhook = {
        "name": "pods.warmset.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 5,
        "reinvocationPolicy": "IfNeeded",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/mutate"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "matchConditions": [{"name": "asks", "expression": asks}],
    }
    inherited = webhook | {
        "name": "inherited.warmset.dev",
        "failurePolicy": "Ignore",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/inherit"},
        "namespaceSelector": {"matchLabels": {keys.INHERIT: "true"}},
        "matchConditions": [{"name": "does-not-ask", "expression": f"!({asks})"}],
    }
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "warmset-pods"},
        "webhooks": [inherited, webhook],
    }
    await client.create(MUTATING_WEBHOOK, body)


async def _trusted(client: Client, control: Control) -> bool:
    if control.failure is not None:
        raise control.failure
    found = await client.get(MUTATING_WEBHOOK, "warmset-pods")
    if not found["webhooks"][0]["clientConfig"].get("caBundle"):
        return False
    probe = pod("probe", annotations={keys.MODEL: "no such model!"})
    try:
        await client.create(POD, probe, namespace=TEAM)
    except ApiError as error:
        return "denied the request" in error.message
    await _forget(client, POD, "probe", TEAM)
    return False


async def _forget(client: Client, resource: Any, name: str, namespace: str | None) -> None:
    try:
        await client.delete(resource, name, namespace=namespace, grace_s=0 if resource is POD else None)
    except ApiError as error:
        if error.status != 404:
            raise


def pod(name: str, *, annotations: dict[str, str] | None = None, gpus: int = 0, **spec: Any) -> Object:
    container: Object = {"name": "engine", "image": "engine:1"}
    if gpus:
        container["resources"] = {"limits": {GPU: str(gpus)}, "requests": {GPU: str(gpus)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"containers": [container]} | spec,
    }


async def install_crds(client: Client) -> None:
    """The project's own."""
    await crds.install(client, *(yaml.safe_load(path.read_text()) for path in sorted(CRD_FOLDER.glob("*.yaml"))))


async def make_model(client: Client, name: str = "llama", **spec: Any) -> Object:
    """A Model that is resolved already; no registry is asked."""
    body = {
        "apiVersion": API_VERSION,
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"source": f"oci://127.0.0.1:9/models/{name}:v1"} | spec,
    }
    created = await client.create(MODEL, body, namespace=TEAM)
    now = created["metadata"]["creationTimestamp"]
    resolved = {
        "type": "Resolved",
        "status": "True",
        "reason": "Resolved",
        "message": "",
        "lastTransitionTime": now,
        "observedGeneration": 1,
    }
    status = {
        "observedGeneration": 1,
        "revision": REVISION,
        "bytes": MODEL_BYTES,
        "files": 1,
        "conditions": [resolved],
    }
    return await client.patch(MODEL, name, {"status": status}, namespace=TEAM, subresource="status")


async def make_node(client: Client, name: str, *, gpus: int = 8, labels: dict[str, str] | None = None) -> Object:
    labels = {"kubernetes.io/hostname": name, **(labels or {})}
    await client.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    capacity = {"cpu": "8", "memory": "32Gi", "pods": "20", GPU: str(gpus)}
    ready = {"type": "Ready", "status": "True", "reason": "Test", "message": ""}
    status = {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}
    return await client.patch(NODE, name, {"status": status}, subresource="status")


async def agent_says(
    client: Client, node: str, states: dict[str, str] | None = None, *, uid: str | None = None, **fields: Any
) -> None:
    """The status that the node's agent would write: ``states`` by name of the team's Models."""

    async def made() -> bool:
        return any(c["metadata"]["name"] == node for c in await client.list(NODE_CACHE))

    await eventually(made, what=f"NodeCache {node}")
    models = [
        {
            "model": keys.model_key(TEAM, name),
            "revision": REVISION,
            "state": state,
            "tree": TREE if state == "Ready" else "",
            "bytesTotal": MODEL_BYTES,
        }
        | fields
        for name, state in (states or {}).items()
    ]
    uid = uid or (await client.get(NODE, node))["metadata"]["uid"]
    status = {"nodeUID": uid, "cacheID": f"cache-{node}", "capacity": 10**12, "models": models}
    await client.patch(NODE_CACHE, node, {"status": status}, subresource="status")


async def groups_on(client: Client, node: str) -> list[str]:
    """The groups whose plans hold the node."""
    return [group for model in await wanted_on(client, node) for group in model.get("groups", [])]


async def wanted_on(client: Client, node: str) -> list[Object]:
    """The NodeCache's list."""
    try:
        found: Sequence[Object] = (await client.get(NODE_CACHE, node)).get("spec", {}).get("models", [])
    except ApiError as error:
        if error.status != 404:
            raise
        found = []
    return list(found)
