"""The main job on real parts: an annotated group of two starts warm.

A real registry, API server and scheduler; the chart's own objects and rights; a controller, two agents and two CSI
drivers as processes of their own. Played are only kubelet and the controllers of LeaderWorkerSet and StatefulSet.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from api import keys
from api.resources import API_VERSION
from cache.transfer.engine import CHUNK_BYTES
from csi.proto import csi_pb2_grpc
from kube.client import ApiError, Client, Object
from kube.resources import EVENT, POD
from tests.integration.conftest import MODELS, NODE_CACHES, WARM_SETS
from tests.support import crds, lws
from tests.support.chunks import chunks_on_disk
from tests.support.command import warmset
from tests.support.counting_proxy import CountingProxy
from tests.support.csi_node import Pod, why_no_mounts
from tests.support.installation import GPU, Installation, WarmNode, eventually
from tests.support.registry import HOW_TO_GET as HOW_TO_GET_REGISTRY
from tests.support.registry import registry_missing

pytestmark = [
    pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here"),
    pytest.mark.skipif(registry_missing(), reason=HOW_TO_GET_REGISTRY),
]

NAMESPACE = "team-a"
MODEL = "llama"
SHARD_BYTES = 24 << 20
WARM_WITHIN_S = 40.0


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """The model's files, by path, as they lie in a folder that is pushed."""
    content = {
        "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
        "tokenizer/tokenizer.json": b'{"version": "1.0"}',
        "model-00001-of-00002.safetensors": os.urandom(SHARD_BYTES),
        "model-00002-of-00002.safetensors": os.urandom(SHARD_BYTES + 4097),
    }
    for name, data in content.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return content


@pytest.fixture(autouse=True)
async def leader_worker_sets(cluster: Client) -> None:
    """The type; its controller is played."""
    await crds.install(cluster, crds.definition(lws.LEADER_WORKER_SETS))


@pytest.fixture
async def model(cluster: Client, installation: Installation, proxy: CountingProxy, files: dict[str, bytes]) -> str:
    """The Model, resolved; returns its revision."""
    source = f"oci://{proxy.host}/models/llama:v1"
    pushed = await asyncio.to_thread(warmset, "push", str(installation.folder / "model"), source, "--plain-http")
    assert pushed.returncode == 0, pushed.stderr
    body = {"apiVersion": API_VERSION, "kind": "Model", "metadata": {"name": MODEL}, "spec": {"source": source}}
    await cluster.create(MODELS, body, namespace=NAMESPACE)

    async def resolved() -> bool:
        return bool((await cluster.get(MODELS, MODEL, namespace=NAMESPACE)).get("status", {}).get("revision"))

    await eventually(resolved, what="the Model's revision")
    status = (await cluster.get(MODELS, MODEL, namespace=NAMESPACE))["status"]
    assert status["bytes"] == sum(len(data) for data in files.values())
    assert status["files"] == len(files)
    revision: str = status["revision"]
    return revision


async def create_group(client: Client, *, size: int = 2) -> lws.Group:
    spec = {
        "containers": [
            {"name": "engine", "image": "engine:1", "resources": {"limits": {GPU: "1"}, "requests": {GPU: "1"}}}
        ]
    }
    return await lws.create_group(
        client, namespace=NAMESPACE, name="vllm", size=size, annotations={keys.MODEL: MODEL}, pod_spec=spec
    )


class Watcher:
    """Looks at the cluster for a test."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def pod(self, name: str) -> Object:
        return await self.client.get(POD, name, namespace=NAMESPACE)

    async def gates(self) -> dict[str, bool]:
        """Whether our gate holds, by pod of the group."""
        pods = await self.client.list(POD, namespace=NAMESPACE, label_selector=f"{lws.PREFIX}name=vllm")
        return {
            p["metadata"]["name"]: any(g["name"] == keys.GATE for g in p["spec"].get("schedulingGates", []))
            for p in pods
        }

    async def model_on(self, node: str) -> dict[str, Any]:
        try:
            cache = await self.client.get(NODE_CACHES, node)
        except ApiError as error:
            if error.status != 404:
                raise
            return {}
        models = cache.get("status", {}).get("models", [])
        return models[0] if models else {}

    async def ready(self, node: str) -> bool:
        return (await self.model_on(node)).get("state") == "Ready"

    async def warm_set(self) -> Object:
        (found,) = await self.client.list(WARM_SETS, namespace=NAMESPACE)
        return found

    async def condition(self, kind: str) -> str:
        conditions = (await self.warm_set()).get("status", {}).get("conditions", [])
        return next((c["status"] for c in conditions if c["type"] == kind), "")


@pytest.mark.timeout(240)
async def test_an_annotated_group_starts_warm(
    installation: Installation, model: str, files: dict[str, bytes], cluster: Client
) -> None:
    look = Watcher(cluster)
    first = await installation.add_warm_node("node-a")
    second = await installation.add_warm_node("node-b")
    await installation.add_node("node-0-without-agent")  # a scheduler would like it as much
    first.start_agent()

    # A pod that does not ask is untouched.
    plain = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain"},
        "spec": {"containers": [{"name": "c", "image": "c"}]},
    }
    untouched = await cluster.create(POD, plain, namespace=NAMESPACE)
    assert "volumes" not in untouched["spec"]
    assert "schedulingGates" not in untouched["spec"]
    assert keys.MANAGED_LABEL not in untouched["metadata"].get("labels", {})
    await cluster.delete(POD, "plain", namespace=NAMESPACE, grace_s=0)

    # Both pods that ask are mutated and gated at creation.
    group = await create_group(cluster)
    for pod in group.pods:
        assert_asks_for(pod, revision=model)

    # While one node is warm, both gates hold.
    await eventually(lambda: look.ready("node-a"), what="node-a warm", within_s=WARM_WITHIN_S)
    await asyncio.sleep(1.5)
    assert await look.gates() == {"vllm-0": True, "vllm-0-1": True}
    assert await look.condition("Warm") == "False"
    assert_blobs_verified(first, files)

    # When both are, both gates go; how soon is measured by benchmarks/gate.py.
    second.start_agent()
    await eventually(lambda: look.ready("node-b"), what="node-b warm", within_s=WARM_WITHIN_S)

    async def released() -> bool:
        return not any((await look.gates()).values())

    await eventually(released, what="both gates gone", within_s=10)
    assert_blobs_verified(second, files)

    # The patch prefers the warm nodes by name and requires nothing that the group did not ask for.
    for name in ("vllm-0", "vllm-0-1"):
        affinity = (await look.pod(name))["spec"]["affinity"]["nodeAffinity"]
        assert "requiredDuringSchedulingIgnoredDuringExecution" not in affinity
        (term,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
        assert term["weight"] == 100
        (expression,) = term["preference"]["matchExpressions"]
        assert expression["key"] == "kubernetes.io/hostname"
        assert sorted(expression["values"]) == ["node-a", "node-b"]

    # The real scheduler binds both to them.
    async def bound() -> bool:
        return all([(await look.pod(name))["spec"].get("nodeName") for name in ("vllm-0", "vllm-0-1")])

    await eventually(bound, what="both pods bound", within_s=20)
    placed = {(await look.pod(name))["spec"]["nodeName"]: await look.pod(name) for name in ("vllm-0", "vllm-0-1")}
    assert placed.keys() == {"node-a", "node-b"}

    # Everything is visible: status of WarmSet and NodeCache, pod condition, events, `warmset status`.
    await eventually(lambda: warm(look), what="WarmSet Warm", within_s=15)
    status = (await look.warm_set())["status"]
    assert (status["groupsReady"], status["groupsDesired"], status["nodesReady"], status["nodesDesired"]) == (
        1,
        1,
        2,
        2,
    )
    assert {n["name"]: n["state"] for g in status["groups"] for n in g["nodes"]} == {
        "node-a": "Ready",
        "node-b": "Ready",
    }
    trees = {(await look.model_on(node))["tree"] for node in ("node-a", "node-b")}
    assert len(trees) == 1
    shown = await asyncio.to_thread(
        warmset, "status", "--namespace", NAMESPACE, "--output", "json", KUBECONFIG=str(installation.plane.kubeconfig)
    )
    assert shown.returncode == 0, shown.stderr
    assert "node-a" in shown.stdout
    assert json.loads(shown.stdout)
    text = await asyncio.to_thread(
        warmset, "status", "--namespace", NAMESPACE, KUBECONFIG=str(installation.plane.kubeconfig)
    )
    assert "Ready" in text.stdout
    said = {e["reason"] for e in await cluster.list(EVENT, namespace=NAMESPACE) if e["regarding"]["name"] == "vllm-0"}
    assert {"Planned", "Warm"} <= said
    conditions = {c["type"]: c["status"] for c in placed["node-a"]["status"]["conditions"]}
    assert conditions[keys.READY_CONDITION] == "True"

    # A publish on each node mounts the exact tree read-only; an unpublish leaves nothing.
    for node in (first, second):
        await publish_and_check(node, placed[node.name], files)

    # Deleting the group frees the pins.
    for name in ("vllm-0", "vllm-0-1"):
        await cluster.delete(POD, name, namespace=NAMESPACE, grace_s=0)
    await cluster.delete(lws.LEADER_WORKER_SETS, "vllm", namespace=NAMESPACE)

    async def nothing_held() -> bool:
        caches = [await cluster.get(NODE_CACHES, node) for node in ("node-a", "node-b")]
        return not any(m.get("groups") or m.get("pinned") for c in caches for m in c.get("spec", {}).get("models", []))

    await eventually(nothing_held, what="plans given back", within_s=15)
    assert all(not list((node.csi.cache / "pins").iterdir()) for node in (first, second))


async def warm(look: Watcher) -> bool:
    return await look.condition("Warm") == "True"


def assert_asks_for(pod: Object, *, revision: str) -> None:
    """As admission leaves it: volume, mount, environment, gate and label."""
    spec = pod["spec"]
    assert spec["schedulingGates"] == [{"name": keys.GATE}]
    assert pod["metadata"]["labels"][keys.MANAGED_LABEL] == "true"
    (volume,) = [v for v in spec["volumes"] if "csi" in v]
    assert volume["csi"]["driver"] == keys.CSI_DRIVER
    assert volume["csi"]["readOnly"] is True
    assert volume["csi"]["volumeAttributes"] == {
        keys.ATTRIBUTE_MODEL: f"{NAMESPACE}/{MODEL}",
        keys.ATTRIBUTE_REVISION: revision,
    }
    (container,) = spec["containers"]
    mount = {"name": volume["name"], "mountPath": f"/models/{MODEL}", "readOnly": True}
    assert [{k: m[k] for k in mount} for m in container["volumeMounts"]] == [mount]
    assert {"name": keys.ENV_MODEL_PATH, "value": f"/models/{MODEL}"} in container["env"]


def assert_blobs_verified(node: WarmNode, files: dict[str, bytes]) -> None:
    """Every blob on the node hashes to its name, and every file of the model is among them."""
    blobs = {path.name: path for path in (node.csi.cache / "blobs" / "sha256").rglob("*") if path.is_file()}
    for name, path in blobs.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name
    assert {hashlib.sha256(data).hexdigest() for data in files.values()} <= blobs.keys()


async def publish_and_check(node: WarmNode, pod: Object, files: dict[str, bytes]) -> None:
    """kubelet's part for the pod's volume, with the attributes that admission wrote into the pod."""
    await node.csi.start_driver()
    (volume,) = [v for v in pod["spec"]["volumes"] if "csi" in v]
    mounted = Pod(uid=pod["metadata"]["uid"], kubelet=node.csi.kubelet, volume=volume["name"])
    mounted.target.parent.mkdir(parents=True)
    attributes = dict(volume["csi"]["volumeAttributes"])
    request = mounted.publish_request(
        model=attributes.pop(keys.ATTRIBUTE_MODEL),
        **attributes,
        **{"csi.storage.k8s.io/pod.namespace": NAMESPACE, "csi.storage.k8s.io/pod.name": pod["metadata"]["name"]},
    )
    async with node.csi.channel() as channel:
        stub = csi_pb2_grpc.NodeStub(channel)
        await stub.NodePublishVolume(request, timeout=30)
        seen = node.csi.inside(mounted.target)
        assert {str(p.relative_to(seen)): p.read_bytes() for p in seen.rglob("*") if p.is_file()} == files
        for attempt in (lambda: (seen / "new").write_bytes(b"x"), lambda: (seen / "config.json").unlink()):
            with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
                attempt()
        assert len(list((node.csi.cache / "pins").iterdir())) == 1
        await stub.NodeUnpublishVolume(mounted.unpublish_request(), timeout=30)
    assert node.csi.mounts() == []
    assert not mounted.target.exists()
    assert not list((node.csi.cache / "pins").iterdir())


@pytest.mark.timeout(240)
async def test_a_pod_bound_elsewhere_still_gets_its_model_there(
    installation: Installation, model: str, cluster: Client
) -> None:
    """A cold landing: nobody planned the node, the pod is bound there all the same."""
    look = Watcher(cluster)
    node = await installation.add_warm_node("node-c")
    node.start_agent()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "direct", "annotations": {keys.MODEL: MODEL}},
        "spec": {"nodeName": "node-c", "containers": [{"name": "engine", "image": "engine:1"}]},
    }
    created = await cluster.create(POD, pod, namespace=NAMESPACE)
    assert "schedulingGates" not in created["spec"]
    await eventually(lambda: look.ready("node-c"), what="node-c warm", within_s=WARM_WITHIN_S)


@pytest.mark.timeout(240)
async def test_an_agent_killed_in_the_middle_of_a_pull_resumes_and_the_group_gets_warm(
    installation: Installation, model: str, files: dict[str, bytes], cluster: Client, proxy: CountingProxy
) -> None:
    look = Watcher(cluster)
    steady = await installation.add_warm_node("node-a")
    # One connection and a slow link: chunks of 16 MiB are finished one after the other.
    victim = await installation.add_warm_node("node-b", exchange=False, workers=1, download_bytes_per_second=12 << 20)
    await create_group(cluster)
    steady.start_agent()
    await eventually(lambda: look.ready("node-a"), what="node-a warm", within_s=WARM_WITHIN_S)
    proxy.transfers.clear()

    victim.start_agent()

    async def a_chunk_is_there() -> bool:
        return any(end - start == CHUNK_BYTES for _, start, end in chunks_on_disk(victim.csi.cache))

    await eventually(a_chunk_is_there, what="a finished chunk on node-b")
    victim.kill_agent()
    assert not await look.ready("node-b"), "the pull was over before the kill: nothing would be proven"
    assert all((await look.gates()).values())
    finished = chunks_on_disk(victim.csi.cache)

    proxy.transfers.clear()
    victim.start_agent()
    await eventually(lambda: look.ready("node-b"), what="node-b warm", within_s=WARM_WITHIN_S)
    for digest, start, end in finished:
        again = [t for t in proxy.transfers if t.digest == digest and t.start < end and t.start + t.sent > start]
        assert not again, f"bytes {start} to {end} of {digest} were on the disk and left the registry again"
    assert_blobs_verified(victim, files)

    async def released() -> bool:
        return not any((await look.gates()).values())

    await eventually(released, what="both gates gone", within_s=10)
