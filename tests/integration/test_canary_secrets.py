"""Secrets pass through every part of an installation; afterwards none is anywhere but in memory and in the Secrets.

Two logins go the two ways there are: one from a Model's Secret through the broker, one from a pod's own through the
driver. A third is wrong, so that the ways of failures are walked too. docs/security.md, Credentials.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import grpc
import pytest
import yaml

from api.resources import API_VERSION
from csi.proto import csi_pb2_grpc
from kube.client import Client, Object
from kube.resources import CONFIG_MAP, EVENT, LEASE, NODE, POD, SECRET, Resource
from tests.integration.conftest import MODELS, NODE_CACHES, WARM_SETS
from tests.support.chart import resource_of
from tests.support.controlplane import ControlPlane
from tests.support.csi_node import why_no_mounts
from tests.support.fake_registry import FakeRegistry
from tests.support.installation import Installation, WarmNode, ensure_namespace, eventually

pytestmark = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here")

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"
TEAM, STRANGERS = "team-a", "team-b"  # secret-access.yaml is for team-a
PASSWORDS = {"owner": "canary-f3a1-owner", "guest": "canary-8c2d-guest", "thief": "canary-77b0-thief"}
NAME, REPOSITORY = "llama-unannounced", "models/unannounced"
SCANNED = (MODELS, WARM_SETS, NODE_CACHES, POD, NODE, CONFIG_MAP, LEASE, EVENT, Resource("", "v1", "events", "Event"))


def basic(user: str) -> str:
    return base64.b64encode(f"{user}:{PASSWORDS[user]}".encode()).decode()


CANARIES = re.compile("|".join([*PASSWORDS.values(), *(basic(user) for user in PASSWORDS), r"\btoken-\d+\b"]).encode())


def login(registry: FakeRegistry, user: str) -> str:
    return json.dumps({"auths": {registry.host: {"username": user, "password": PASSWORDS[user]}}})


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.auth, running.users = "bearer", {user: PASSWORDS[user] for user in ("owner", "guest")}
        running.add_model(REPOSITORY, "v1", {"config.json": b"{}", "model.safetensors": bytes(3 << 20)})
        yield running


@pytest.fixture
async def installation(
    cluster: Client, control_plane: ControlPlane, registry: FakeRegistry, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with AsyncExitStack() as stack:
        await ensure_namespace(cluster, TEAM)
        for name, user in (("registry", "owner"), ("wrong", "thief")):
            data = {".dockerconfigjson": base64.b64encode(login(registry, user).encode()).decode()}
            body = {"metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson", "data": data}
            await cluster.create(SECRET, body, namespace=TEAM)
            stack.push_async_callback(cluster.delete, SECRET, name, namespace=TEAM)
        made = await Installation.start(cluster, control_plane, tmp_path, plain_http=[registry.host], stack=stack)
        access = yaml.safe_load((EXAMPLES / "secret-access.yaml").read_text())
        await cluster.create(resource_of(access), access, namespace=TEAM)
        stack.push_async_callback(cluster.delete, resource_of(access), access["metadata"]["name"], namespace=TEAM)
        yield made


@pytest.fixture
async def node(installation: Installation, cluster: Client, registry: FakeRegistry) -> WarmNode:
    """A node that holds the Model, and a second Model whose login is refused."""
    node = await installation.add_warm_node("node-1")
    node.start_agent()
    source = f"oci://{registry.host}/{REPOSITORY}:v1"
    for name, secret in ((NAME, "registry"), ("refused", "wrong")):
        spec = {"source": source, "secretRef": {"name": secret}}
        model = {"apiVersion": API_VERSION, "kind": "Model", "metadata": {"name": name}, "spec": spec}
        await cluster.create(MODELS, model, namespace=TEAM)
    placement = {"nodeSelector": {"kubernetes.io/hostname": "node-1"}}
    warm_set = {
        "apiVersion": API_VERSION,
        "kind": "WarmSet",
        "metadata": {"name": "all"},
        "spec": {"models": [NAME], "placement": placement},
    }
    await cluster.create(WARM_SETS, warm_set, namespace=TEAM)

    async def warm_and_refused() -> bool:
        status = (await cluster.get(MODELS, "refused", namespace=TEAM)).get("status", {})
        failed = any(c["status"] == "False" for c in status.get("conditions", []))
        caches = {c["metadata"]["name"]: c.get("status", {}) for c in await cluster.list(NODE_CACHES)}
        held = [m["state"] for m in caches.get("node-1", {}).get("models", [])]
        return failed and held == ["Ready"]

    await eventually(warm_and_refused, what="one Model warm and one refused", within_s=60)
    await node.csi.start_driver()
    return node


async def publish(node: WarmNode, *, namespace: str, secret: str = "") -> grpc.StatusCode:
    request = node.csi.pod().publish_request(model=f"{TEAM}/{NAME}", **{"csi.storage.k8s.io/pod.namespace": namespace})
    if secret:
        request.secrets[".dockerconfigjson"] = secret
    async with node.csi.channel() as channel:
        try:
            # The driver keeps 15 s of the deadline to itself.
            await csi_pb2_grpc.NodeStub(channel).NodePublishVolume(request, timeout=17.0)
        except grpc.aio.AioRpcError as error:
            refusal = error
        else:
            return grpc.StatusCode.OK
    assert not CANARIES.search((refusal.details() or "").encode())
    return refusal.code()


async def scanned(installation: Installation, node: WarmNode) -> dict[str, bytes]:
    """Everything that a log shipper, an API client, a scraper, `ps` or whoever has the disk could read."""
    found: dict[str, bytes] = {}
    for resource in SCANNED:
        objects: list[Object] = await installation.client.list(resource)
        found[f"{resource.group} {resource.plural}"] = json.dumps(objects).encode()
    for path in [installation.folder / "controller.log", *node.csi.folder.rglob("*")]:
        if path.is_file() and not path.is_symlink():
            found[str(path)] = path.read_bytes()
    listens = [yaml.safe_load(node.config.read_text())["listen"]]
    listens.append(yaml.safe_load((installation.folder / "controller.yaml").read_text())["listen_http"])
    async with aiohttp.ClientSession() as session:
        for address in listens:
            async with session.get(f"http://{address}/metrics") as answer:
                found[f"metrics of {address}"] = await answer.read()
    assert node.server
    for pid in (installation.controller.process.pid, node.server.process.pid, node.csi.drivers[-1].pid):
        for name in ("cmdline", "environ"):
            found[f"/proc/{pid}/{name}"] = Path(f"/proc/{pid}/{name}").read_bytes()
    return found


@pytest.mark.timeout(240)
async def test_no_secret_is_left_anywhere_and_no_private_name_where_all_may_read(
    installation: Installation, node: WarmNode, registry: FakeRegistry
) -> None:
    assert await publish(node, namespace=TEAM) is grpc.StatusCode.OK
    assert await publish(node, namespace=STRANGERS, secret=login(registry, "guest")) is grpc.StatusCode.OK
    for secret in ("", login(registry, "thief")):
        assert await publish(node, namespace=STRANGERS, secret=secret) is grpc.StatusCode.ABORTED
    assert len(node.csi.mounts()) == 2
    used = {seen.headers.get("authorization", "").removeprefix("Basic ") for seen in registry.seen}
    assert {basic(user) for user in PASSWORDS} <= used, "a login was never tried, so this proves nothing"

    everything = await scanned(installation, node)
    assert {"warmset.dev models", "events.k8s.io events", str(node.csi.log)} <= everything.keys()
    encoded = [base64.b64encode(login(registry, user).encode()) for user in PASSWORDS]
    leaks = {w: found[0] for w, text in everything.items() if (found := CANARIES.search(text))}
    leaks |= {where: secret for where, text in everything.items() for secret in encoded if secret in text}
    assert leaks == {}
    # What every node may read, and whoever scrapes: neither the Model's name nor where it comes from.
    for where in everything:
        if where == "warmset.dev nodecaches" or where.startswith("metrics"):
            assert b"unannounced" not in everything[where], where
            assert registry.host.encode() not in everything[where], where


async def test_a_secret_of_another_namespace_cannot_be_named(cluster: Client) -> None:
    """Not by a path in its name either: the Secret is looked up in the Model's own namespace."""
    await ensure_namespace(cluster, STRANGERS)
    spec = {"source": "oci://registry.example.com/a:v1", "secretRef": {"name": f"{TEAM}/registry"}}
    model = {"apiVersion": API_VERSION, "kind": "Model", "metadata": {"name": "a"}, "spec": spec}
    with pytest.raises(Exception, match="secretRef"):
        await cluster.create(MODELS, model, namespace=STRANGERS)
