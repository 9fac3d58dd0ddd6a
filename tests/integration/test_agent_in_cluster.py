"""The agent as a process of its own on a real API server and a real registry, with the rights that the chart gives it.

The test writes the NodeCache, as the controller would, and stands in for the broker.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml

from api.broker import Grant, GrantRequest, SourceCredential
from api.keys import BROKER_AUDIENCE, model_key
from api.node import LiveSet, NodeError, Publication, PublishRequest
from api.reference import parse_reference
from api.resources import NodeCache, NodeModelStatus
from cache.push import Pushed, push
from cache.sources import SourceOptions
from daemonset.cluster import NODE_CACHE
from demo.group import FULL_DISK
from kube.client import Client, Object
from kube.resources import NODE, POD
from tests.support.broker import BrokerServer, serve_broker
from tests.support.chart import NAMESPACE, render
from tests.support.controlplane import ControlPlane, without_space
from tests.support.installation import apply, ensure_namespace, eventually, remove, service_account_token
from tests.support.processes import Server, free_port, warmset
from tests.support.registry import HOW_TO_GET, Registry, registry_missing

pytestmark = pytest.mark.skipif(registry_missing(), reason=HOW_TO_GET)

NODE_NAME = "node-a"
MODEL = "team-a/llama"
HASH = model_key("team-a", "llama")
SIZE = 48 << 20
CANARY = "canary-of-a-registry-password"


@pytest.fixture(scope="module")
def pushed(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.safetensors").write_bytes(os.urandom(SIZE))
    (folder / "config.json").write_text("{}")
    options = SourceOptions(plain_http=frozenset({registry.host}))
    return push(folder, parse_reference(f"oci://{registry.host}/models/llama:v1"), options=options)


@dataclass
class AgentNode:
    """One node: its NodeCache, its agent's configuration and, while it runs, its process."""

    client: Client
    folder: Path
    broker: BrokerServer
    uid: str
    settings: Object
    server: Server | None = None
    servers: list[Server] = field(default_factory=list)

    def start(self, **changes: Any) -> None:
        config = self.folder / "agent.yaml"
        config.write_text(yaml.safe_dump(self.settings | changes))
        self.server = warmset("agent", f"--config={config}", log=self.folder / "agent.log")
        self.servers.append(self.server)

    def kill(self) -> None:
        assert self.server
        self.server.process.kill()
        self.server.process.wait()

    def end(self) -> int:
        assert self.server
        self.server.stop()
        return self.server.process.returncode

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    async def desire(self, *models: Object) -> None:
        await self.client.patch(NODE_CACHE, NODE_NAME, {"spec": {"models": list(models)}})

    async def cache(self) -> NodeCache:
        return msgspec.convert(await self.client.get(NODE_CACHE, NODE_NAME), type=NodeCache)

    async def model(self) -> NodeModelStatus | None:
        return next(iter((await self.cache()).status.models), None)

    async def becomes(self, state: str, *, reason: str = "", within_s: float = 30.0) -> NodeModelStatus:
        async def look() -> bool:
            assert self.server
            assert self.server.process.poll() is None, self.log
            model = await self.model()
            return model is not None and (model.state, model.reason) == (state, reason)

        await eventually(look, what=f"{state} {reason}", within_s=within_s)
        found = await self.model()
        assert found
        return found

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connector = aiohttp.UnixConnector(str(self.folder / "agent.sock"))
        async with (
            aiohttp.ClientSession("http://agent", connector=connector) as session,
            session.request(method, path, data=msgspec.json.encode(body) if body else None) as answer,
        ):
            return answer.status, await answer.read()

    async def publish(self, *, namespace: str = "team-a", wait_s: float = 0.0, id_: str = "a" * 64) -> object:
        ask = PublishRequest(id=id_, model=MODEL, namespace=namespace, pod="p", pod_uid="u", wait_s=wait_s)
        status, body = await self.call("POST", "/v1/publications", ask)
        return msgspec.json.decode(body, type=Publication if status == 200 else NodeError)

    def cpu_s(self) -> float:
        assert self.server
        fields = Path(f"/proc/{self.server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime: proc(5)

    def rss_bytes(self) -> int:
        assert self.server
        pages = int(Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def received(self) -> float:
        """Bytes from the registry, by the agent's own metrics."""
        lines = (await self.http("/metrics"))[1].splitlines()
        return float(
            next(n for n in lines if n.startswith('warmset_agent_received_bytes_total{source="origin"}')).split()[1]
        )

    async def http(self, path: str) -> tuple[int, str]:
        url = f"http://{self.settings['listen']}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def rights(cluster: Client) -> AsyncIterator[None]:
    """The service account of the agents and what it may do, as the chart has it."""
    names = ("warmset-node", "warmset-own-node-only")
    manifests = [m for m in render() if m["metadata"]["name"] in names and m["kind"] not in ("DaemonSet", "ConfigMap")]
    await ensure_namespace(cluster, NAMESPACE)
    await apply(cluster, manifests)
    yield
    await remove(cluster, manifests)


@pytest.fixture
async def node(
    cluster: Client, rights: None, control_plane: ControlPlane, registry: Registry, pushed: Pushed, tmp_path: Path
) -> AsyncIterator[AgentNode]:
    def answer(request: GrantRequest) -> tuple[int, bytes]:
        if request.model != HASH:
            return 403, msgspec.json.encode(NodeError(reason="Forbidden", message="not on this node"))
        grant = Grant(
            model=MODEL,
            source=f"oci://{registry.host}/models/llama@{pushed.revision}",
            revision=request.revision,
            namespaces=["friends"],
            credential=SourceCredential(host=registry.host, username="user", password=CANARY),
            plain_http=True,
        )
        return 200, msgspec.json.encode(grant)

    uid = (await cluster.create(NODE, {"metadata": {"name": NODE_NAME}}))["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME, "uid": uid}
    await cluster.create(
        NODE_CACHE,
        {
            "apiVersion": NODE_CACHE.api_version,
            "kind": NODE_CACHE.kind,
            "metadata": {"name": NODE_NAME, "ownerReferences": [owner]},
            "spec": {"models": []},
        },
    )
    pod = await cluster.create(
        POD,
        {
            "metadata": {"name": "agent"},
            "spec": {
                "nodeName": NODE_NAME,
                "serviceAccountName": "warmset-node",
                "containers": [{"name": "agent", "image": "warmset"}],
            },
        },
        namespace=NAMESPACE,
    )
    token = await service_account_token(cluster, "warmset-node", bound_to=pod)
    broker_token = await service_account_token(cluster, "warmset-node", bound_to=pod, audience=BROKER_AUDIENCE)
    async with serve_broker(tmp_path, answer=answer, token=broker_token) as broker:
        settings = {
            "root": str(tmp_path / "cache"),
            "watermarks": FULL_DISK,
            "node": NODE_NAME,
            "listen": f"127.0.0.1:{free_port()}",
            "socket": str(tmp_path / "agent.sock"),
            "cluster": {
                "kubeconfig": str(control_plane.kubeconfig_for(token, name="agent")),
                "advertise": "10.0.0.7:9810",
                "broker": msgspec.to_builtins(broker.broker, enc_hook=str),
            },
        }
        made = AgentNode(cluster, tmp_path, broker, uid, settings)
        yield made
        for server in made.servers:
            server.stop()


def present(pushed: Pushed, **more: object) -> Object:
    return {"model": HASH, "revision": pushed.revision, **more}


async def test_what_the_nodecache_asks_for_is_pulled_reported_and_published(node: AgentNode, pushed: Pushed) -> None:
    node.start()
    await node.desire(present(pushed))
    model = await node.becomes("Ready")
    assert model.tree == str(pushed.tree.digest)
    assert model.bytes_done == model.bytes_total == model.bytes_origin == pushed.tree.size
    status = (await node.cache()).status
    assert status.node_uid == node.uid
    assert status.cache_id in (node.folder / "cache" / ".cache-id").read_text()
    assert status.agent.address == "10.0.0.7:9810"
    assert status.used >= pushed.tree.size

    publication = await node.publish()
    assert isinstance(publication, Publication)
    tree = node.folder / "cache" / "trees" / pushed.tree.digest.hex
    assert publication.tree == str(pushed.tree.digest)
    assert (tree / "model.safetensors").stat().st_size == SIZE
    assert isinstance(await node.publish(namespace="friends", id_="b" * 64), Publication)
    stranger = await node.publish(namespace="strangers", id_="c" * 64)
    assert isinstance(stranger, NodeError)
    assert stranger.reason == "Pulling"
    assert (await node.http("/readyz"))[0] == 200
    assert 'warmset_agent_models{state="Ready"} 1.0' in (await node.http("/metrics"))[1]


async def test_an_idle_agent_writes_nothing_and_takes_little(node: AgentNode, pushed: Pushed) -> None:
    """At rest: under 100 MiB and under 1 % of a core."""
    node.start()
    await node.desire(present(pushed))
    await node.becomes("Ready")
    await asyncio.sleep(1.0)
    before = (await node.cache()).metadata.resource_version
    shares = [await cpu_share(node, for_s=10.0)]
    while min(shares) >= 0.01 and len(shares) < 3:  # neighbours on the same cores make the same work take longer
        shares.append(await cpu_share(node, for_s=10.0))
    assert (await node.cache()).metadata.resource_version == before
    assert node.rss_bytes() < 100 << 20
    assert min(shares) < 0.01


async def cpu_share(node: AgentNode, *, for_s: float) -> float:
    """Of one core."""
    before = node.cpu_s()
    await asyncio.sleep(for_s)
    return (node.cpu_s() - before) / for_s


async def test_while_etcd_has_no_space_it_pulls_and_serves_and_reports_afterwards(
    node: AgentNode, pushed: Pushed, control_plane: ControlPlane
) -> None:
    async def served() -> bool:
        with suppress(aiohttp.ClientError):  # no socket yet
            return isinstance(await node.publish(wait_s=1.0), Publication)
        return False

    await node.desire(present(pushed))
    async with without_space(control_plane):
        node.start()
        await eventually(served, what="the model mounted", within_s=60)
        assert await node.model() is None
        assert 1 <= node.log.count("status.not_written") <= 20
    await node.becomes("Ready", within_s=60)


async def test_killed_in_the_middle_it_resumes_and_gets_no_finished_chunk_again(
    node: AgentNode, pushed: Pushed
) -> None:
    # One connection, so that chunks are finished one after the other.
    node.start(limits={"download_bytes_per_second": 16 << 20, "pulls": 1, "workers": 1})
    await node.desire(present(pushed))

    async def a_chunk_and_a_half() -> bool:
        with suppress(aiohttp.ClientError):
            return await node.received() > 24 << 20
        return False

    await eventually(a_chunk_and_a_half, what="the first chunks")
    node.kill()
    node.start()
    model = await node.becomes("Ready")
    assert SIZE / 4 < model.bytes_origin <= pushed.tree.size - (16 << 20)


async def test_absent_is_removed_only_after_the_driver_told_what_is_mounted(node: AgentNode, pushed: Pushed) -> None:
    node.start()
    await node.desire(present(pushed))
    await node.becomes("Ready")
    await node.publish()
    await node.desire(present(pushed, desired="Absent"))
    await node.becomes("Evicting", reason="MountsUnknown")
    await node.call("PUT", "/v1/live", LiveSet(ids=["a" * 64]))
    await node.becomes("Evicting", reason="InUse")
    await node.call("DELETE", f"/v1/publications/{'a' * 64}")

    async def gone() -> bool:
        return await node.model() is None

    await eventually(gone, what="the removed model's status")
    assert list((node.folder / "cache" / "trees").iterdir()) == []


async def test_a_lost_list_removes_nothing(node: AgentNode, pushed: Pushed) -> None:
    node.start()
    await node.desire(present(pushed))
    await node.becomes("Ready")
    await node.call("PUT", "/v1/live", LiveSet(ids=[]))
    await node.desire()
    await asyncio.sleep(0.5)
    assert isinstance(await node.publish(), Publication)
    await node.client.delete(NODE_CACHE, NODE_NAME)
    await asyncio.sleep(0.5)
    assert (node.folder / "cache" / "trees" / pushed.tree.digest.hex).is_dir()
    owner = {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME, "uid": node.uid}
    await node.client.create(
        NODE_CACHE,
        {
            "apiVersion": NODE_CACHE.api_version,
            "kind": NODE_CACHE.kind,
            "metadata": {"name": NODE_NAME, "ownerReferences": [owner]},
            "spec": {"models": [present(pushed)]},
        },
    )
    assert (await node.becomes("Ready")).tree == str(pushed.tree.digest)


async def test_cut_off_from_cluster_and_broker_it_serves_what_it_holds(node: AgentNode, pushed: Pushed) -> None:
    node.start()
    await node.desire(present(pushed))
    await node.becomes("Ready")
    assert node.end() == 0
    nowhere = f"https://127.0.0.1:{free_port()}"
    cut_off = yaml.safe_load(Path(node.settings["cluster"]["kubeconfig"]).read_text())
    cut_off["clusters"][0]["cluster"]["server"] = nowhere
    kubeconfig = node.folder / "nowhere.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(cut_off))
    broker = node.settings["cluster"]["broker"] | {"url": nowhere}
    node.start(cluster=node.settings["cluster"] | {"kubeconfig": str(kubeconfig), "broker": broker})

    async def serves() -> bool:
        with suppress(aiohttp.ClientError):
            return isinstance(await node.publish(namespace="friends"), Publication)
        return False

    await eventually(serves, what="a publication without the cluster")
    refused = await node.publish(namespace="strangers", id_="c" * 64)
    assert isinstance(refused, NodeError)
    assert (await node.http("/readyz"))[0] == 200


async def test_no_credential_reaches_disk_log_status_or_metrics(node: AgentNode, pushed: Pushed) -> None:
    node.start()
    await node.desire(present(pushed))
    await node.becomes("Ready")
    metrics = (await node.http("/metrics"))[1]
    status = str(await node.client.get(NODE_CACHE, NODE_NAME))
    node.end()
    assert node.broker.asked
    for text in (node.log, metrics, status):
        assert CANARY not in text
        assert node.broker.tokens[0].removeprefix("Bearer ") not in text
    for path in (node.folder / "cache").rglob("*"):
        if path.is_file() and path.stat().st_size < SIZE:
            assert CANARY.encode() not in path.read_bytes()
