"""A group of nodes pulls one model for one copy from its registry, over TLS and by capability.

A real registry and API server, the chart's own objects and rights, a controller and agents as processes of their own.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.broker import CohortRequest
from api.errors import Forbidden
from api.keys import model_key
from api.reference import parse_reference
from api.resources import API_VERSION
from cache.exchange.authority.identity import Identity
from cache.exchange.authority.tls import PeerTls
from cache.origin import Origin
from cache.sources.artifact import Filter
from daemonset.authority.broker import BrokerClient
from daemonset.config import Broker
from kube.client import Client, Object
from tests.integration.conftest import MODELS, NODE_CACHES, WARM_SETS
from tests.support.command import warmset
from tests.support.counting_proxy import CountingProxy
from tests.support.csi_node import why_no_mounts
from tests.support.installation import Installation, WarmNode, eventually
from tests.support.registry import HOW_TO_GET as HOW_TO_GET_REGISTRY
from tests.support.registry import registry_missing

pytestmark = [
    pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here"),
    pytest.mark.skipif(registry_missing(), reason=HOW_TO_GET_REGISTRY),
]

NAMESPACE, MODEL = "team-a", "llama"
SHARDS = (40 << 20, (24 << 20) + 17)
WARM_WITHIN_S = 90.0
RACK = "example.com/rack"
COPIES = 1.1  # two that begin at the same moment may both fetch a chunk, of 65 here


@pytest.fixture
def topology_levels() -> list[str]:
    return [RACK]


@dataclass
class Published:
    """A Model that is resolved."""

    source: str
    revision: str
    size: int

    @property
    def exchange(self) -> str:
        return Origin(parse_reference(self.source).pinned(self.revision), Filter()).exchange


@pytest.fixture
async def model(cluster: Client, installation: Installation, proxy: CountingProxy, tmp_path: Path) -> Published:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for number, size in enumerate(SHARDS):
        (folder / f"model-{number}.safetensors").write_bytes(os.urandom(size))
    source = f"oci://{proxy.host}/models/llama:v1"
    pushed = await asyncio.to_thread(warmset, "push", str(folder), source, "--plain-http")
    assert pushed.returncode == 0, pushed.stderr
    body = {"apiVersion": API_VERSION, "kind": "Model", "metadata": {"name": MODEL}, "spec": {"source": source}}
    await cluster.create(MODELS, body, namespace=NAMESPACE)

    async def revision() -> str:
        status = (await cluster.get(MODELS, MODEL, namespace=NAMESPACE)).get("status", {})
        return str(status.get("revision", ""))

    async def resolved() -> bool:
        return bool(await revision())

    await eventually(resolved, what="the Model's revision")
    proxy.transfers.clear()
    return Published(source, await revision(), sum(SHARDS) + 2)


async def start_agents(installation: Installation, *names: str, rack: str = "r1", **limits: int) -> list[WarmNode]:
    """Agents that serve peers, as their NodeCaches say."""
    nodes = [await installation.add_warm_node(name, labels={RACK: rack}, **limits) for name in names]
    for node in nodes:
        node.start_agent()

    async def known() -> bool:
        caches = [await cache_of(installation.client, name) for name in names]
        return all(cache.get("status", {}).get("agent", {}).get("key") for cache in caches)

    await eventually(known, what="the agents' keys in their NodeCaches", within_s=60)
    return nodes


async def cache_of(client: Client, name: str) -> Object:
    found = [cache for cache in await client.list(NODE_CACHES) if cache["metadata"]["name"] == name]
    return found[0] if found else {}


async def states(client: Client, *names: str) -> list[Object]:
    """Of the model on each node."""
    found = [(await cache_of(client, name)).get("status", {}).get("models", []) for name in names]
    return [models[0] if models else {} for models in found]


async def warm(client: Client, *names: str, name: str = "warm") -> None:
    """Ask for the model on these nodes, as `warmset warm --node` does."""
    spec = {"models": [MODEL], "placement": {"nodes": list(names)}}
    body = {"apiVersion": API_VERSION, "kind": "WarmSet", "metadata": {"name": name}, "spec": spec}
    await client.create(WARM_SETS, body, namespace=NAMESPACE)


async def until_ready(client: Client, *names: str) -> None:
    async def ready() -> bool:
        return all(state.get("state") == "Ready" for state in await states(client, *names))

    await eventually(ready, what=f"{', '.join(names)} warm", within_s=WARM_WITHIN_S)


def copies(proxy: CountingProxy, model: Published) -> float:
    return sum(transfer.sent for transfer in proxy.transfers) / model.size


@pytest.mark.timeout(300)
async def test_a_group_takes_one_copy_and_who_comes_later_none(
    installation: Installation, model: Published, proxy: CountingProxy, cluster: Client
) -> None:
    group = ("node-a", "node-b", "node-c")
    await start_agents(installation, *group)
    await warm(cluster, *group)
    await until_ready(cluster, *group)
    assert copies(proxy, model) <= COPIES
    seats = [(await cache_of(cluster, name))["spec"]["models"][0]["cohort"] for name in group]
    (cohort,) = {seat.partition("/")[0] for seat in seats}
    assert sum(state.get("bytesPeers", 0) for state in await states(cluster, *group)) >= 1.8 * model.size

    proxy.transfers.clear()
    await start_agents(installation, "node-d")
    await start_agents(installation, "node-e", rack="r2")
    await warm(cluster, "node-d", "node-e", name="later")
    await until_ready(cluster, "node-d", "node-e")
    assert proxy.transfers == []
    joined, below = [(await cache_of(cluster, name))["spec"]["models"][0]["cohort"] for name in ("node-d", "node-e")]
    assert joined == f"{cohort}/-/3"
    assert below.endswith(f"/0/1/{cohort}/3")


@pytest.mark.timeout(300)
async def test_a_controller_that_goes_away_sends_nobody_to_the_registry(
    installation: Installation, model: Published, proxy: CountingProxy, cluster: Client
) -> None:
    group = ("node-a", "node-b", "node-c")
    nodes = await start_agents(installation, *group, download_bytes_per_second=8 << 20)
    await warm(cluster, *group)

    async def shared() -> bool:
        return all("exchange.joined" in (node.csi.folder / "agent.log").read_text() for node in nodes)

    await eventually(shared, what="all agents in the exchange", within_s=60)
    installation.controller.process.kill()
    assert not all(state.get("state") == "Ready" for state in await states(cluster, *group))
    await until_ready(cluster, *group)
    assert copies(proxy, model) <= COPIES


@pytest.mark.timeout(300)
async def test_only_who_may_have_a_model_gets_it_from_a_peer(
    installation: Installation, model: Published, cluster: Client
) -> None:
    holder, stranger = await start_agents(installation, "node-a", "node-b")
    await warm(cluster, "node-a")
    await until_ready(cluster, "node-a")
    tls = PeerTls(Identity(Ed25519PrivateKey.generate()))
    request = CohortRequest(model=model_key(NAMESPACE, MODEL), revision=model.revision, key=tls.identity.key)

    def broker(node: WarmNode) -> BrokerClient:
        token = node.config.with_name("broker-token")
        return BrokerClient(Broker(url=installation.broker_url, ca_file=installation.ca, token_file=token))

    async def status(path: str, *, capability: str, client: PeerTls) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {capability}"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://{holder.peers}{path}", ssl=client.client, headers=headers) as response,
        ):
            return response.status, await response.text() if response.status == 404 else ""

    # A node whose NodeCache names the model gets a capability, and with it the model; another gets none.
    path = f"/exchange/v1/{model.exchange}?members=1"
    granted = await broker(holder).cohort(request)
    assert (await status(path, capability=granted.capability, client=tls))[0] == 200
    with pytest.raises(Forbidden):
        await broker(stranger).cohort(request)

    # Without one, with one of another node's, and for what is not there: the same answer.
    thief = PeerTls(Identity(Ed25519PrivateKey.generate()))
    refused = {
        await status(path, capability="", client=tls),
        await status(path, capability=granted.capability, client=thief),
        await status(f"/exchange/v1/{'0' * 64}?members=1", capability=granted.capability, client=tls),
    }
    assert {code for code, _ in refused} == {404}
    assert len(refused) == 1

    # And without a key not even TLS.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"https://{holder.peers}{path}", ssl=context)
