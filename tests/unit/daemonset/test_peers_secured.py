"""What an agent serves to peers that prove themselves, and to whom it says nothing at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.digest import Digest
from api.tree import Tree, TreeFile
from cache.exchange.authority.admission import Capabilities
from cache.exchange.authority.capability import LIFE_S, Signer
from cache.exchange.authority.identity import Identity
from cache.exchange.authority.tls import PeerTls
from cache.exchange.group import Contacts, Exchanges, Group
from cache.exchange.holding import Holding, in_order
from cache.store import Store
from daemonset.sharing import peers
from daemonset.sharing.turnstile import Turnstile
from tests.support.exchange_group import free_address

EXCHANGE, OTHER = "a" * 64, "b" * 64
CONTENT = os.urandom((2 << 20) + 17)
SIGNER = Signer(Ed25519PrivateKey.generate())


def a_node() -> PeerTls:
    return PeerTls(Identity(Ed25519PrivateKey.generate()))


@dataclass
class Served:
    address: str
    digest: Digest

    async def get(
        self, path: str, *, client: PeerTls, capability: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, str]:
        """Status, body and Content-Range."""
        shown = {"Authorization": f"Bearer {capability}", **(headers or {})}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://{self.address}{path}", ssl=client.client, headers=shown) as response,
        ):
            return response.status, await response.read(), response.headers.get("Content-Range", "")

    @property
    def blob(self) -> str:
        return f"/v2/warmset/{EXCHANGE}/blobs/{self.digest}"


@pytest.fixture
def signers() -> dict[str, Signer]:
    """Whose capabilities the node takes, by id; tests change it."""
    return {SIGNER.id: SIGNER}


@pytest.fixture
async def node(tmp_path: Path, signers: dict[str, Signer]) -> AsyncIterator[Served]:
    with Store.open(tmp_path / "store") as store:
        digest = Digest(hashlib.sha256(CONTENT).hexdigest())
        ingest = store.ingest(digest, size=len(CONTENT), chunk_bytes=4 << 20)
        ingest.write(0, memoryview(CONTENT))
        ingest.written(0)
        ingest.commit(digest)
        ingest.close()
        tree = Tree.of([TreeFile("model.safetensors", len(CONTENT), digest)])
        exchanges = Exchanges(Group((), None, Contacts({})))
        exchanges.hold(Holding(EXCHANGE, tree, in_order(tree.blobs)))
        admission = Capabilities(lambda: {s.id: s.private.public_key() for s in signers.values()})
        app = peers.application(exchanges, store=store, admission=admission, turnstile=Turnstile())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        address = free_address()
        host, _, port = address.rpartition(":")
        await web.TCPSite(runner, host, int(port), ssl_context=a_node().server).start()
        yield Served(address, digest)
        await runner.cleanup()


def capability(client: PeerTls, *, exchange: str = EXCHANGE, age_s: float = 0.0, signer: Signer = SIGNER) -> str:
    return signer.sign(client=client.identity.key, exchange=exchange, now=time.time() - age_s)


async def test_a_client_with_a_capability_gets_the_bytes(node: Served) -> None:
    client = a_node()
    status, body, _ = await node.get(node.blob, client=client, capability=capability(client))
    assert (status, body == CONTENT) == (200, True)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=1048570-1048580", 1048570, 1048581), ("bytes=-5", -5, None), ("bytes=9-", 9, None)],
)
async def test_ranges_are_exact(node: Served, asked: str, start: int, stop: int | None) -> None:
    client = a_node()
    status, body, told = await node.get(
        node.blob, client=client, capability=capability(client), headers={"Range": asked}
    )
    first, last, _ = slice(start, stop).indices(len(CONTENT))
    assert (status, told) == (206, f"bytes {first}-{last - 1}/{len(CONTENT)}")
    assert body == CONTENT[start:stop]


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=5-2", "lines=1-2"])
async def test_a_range_that_is_none_is_refused(node: Served, asked: str) -> None:
    client = a_node()
    status, body, _ = await node.get(node.blob, client=client, capability=capability(client), headers={"Range": asked})
    assert (status, body) == (416, b"")


Shown = Callable[[PeerTls], str]


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(lambda _: "", id="none"),
        pytest.param(lambda _: capability(a_node()), id="captured from another node"),
        pytest.param(lambda client: capability(client, exchange=OTHER), id="for another model"),
        pytest.param(lambda client: capability(client, age_s=2 * LIFE_S), id="expired"),
        pytest.param(lambda client: capability(client, age_s=86_400), id="by a clock that is a day late"),
        pytest.param(lambda c: capability(c, signer=Signer(Ed25519PrivateKey.generate())), id="signed by nobody"),
        pytest.param(lambda _: "eyJhbGciOiJub25lIn0.e30.", id="alg none"),
    ],
)
async def test_without_a_valid_capability_what_is_here_and_what_is_not_look_the_same(
    node: Served, shown: Shown
) -> None:
    client = a_node()
    absent = f"/v2/warmset/{'0' * 64}/blobs/{node.digest}"
    answers = [
        await node.get(path, client=client, capability=shown(client))
        for path in (node.blob, absent, f"/v2/warmset/{EXCHANGE}/manifests/latest")
    ]
    assert answers == [answers[0]] * 3
    assert answers[0][0] == 404
    for exchange in (EXCHANGE, "0" * 64):
        path = f"/exchange/v1/{exchange}?members=3"
        assert await node.get(path, client=client, capability=shown(client)) == answers[0]


async def test_a_client_without_a_key_does_not_get_through_tls(node: Served) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"https://{node.address}{node.blob}", ssl=context)


async def test_a_signing_key_can_change_while_nodes_learn_of_it(node: Served, signers: dict[str, Signer]) -> None:
    """First all learn the new key, then it signs, then the old one goes."""
    client, after = a_node(), Signer(Ed25519PrivateKey.generate())

    async def status(shown: str) -> int:
        return (await node.get(node.blob, client=client, capability=shown))[0]

    assert await status(capability(client, signer=after)) == 404
    signers[after.id] = after
    assert await status(capability(client)) == 200
    assert await status(capability(client, signer=after)) == 200
    del signers[SIGNER.id]
    assert await status(capability(client, age_s=1)) == 404


async def test_a_pull_that_was_let_in_goes_on_when_its_capability_has_expired(
    node: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = a_node()
    shown = capability(client)
    assert (await node.get(node.blob, client=client, capability=shown))[0] == 200
    later = time.time() + 2 * LIFE_S
    monkeypatch.setattr(time, "time", lambda: later)
    assert (await node.get(node.blob, client=client, capability=shown))[0] == 200
    newcomer = a_node()
    assert (await node.get(node.blob, client=newcomer, capability=capability(newcomer, age_s=2 * LIFE_S)))[0] == 404


async def test_a_holder_tells_its_state_in_the_chunks_of_the_asker_s_cohort(node: Served) -> None:
    client = a_node()
    path = f"/exchange/v1/{EXCHANGE}?members="
    status, body, _ = await node.get(f"{path}5", client=client, capability=capability(client))
    assert (status, b'"have":"7"' in body) == (200, True)
    for members in ("", "-1", "0", "x", "99999999999"):
        assert (await node.get(f"{path}{members}", client=client, capability=capability(client)))[0] == 404


async def test_many_clients_at_once_get_their_own_bytes(node: Served) -> None:
    clients = [a_node() for _ in range(6)]
    answers = await asyncio.gather(
        *(node.get(node.blob, client=client, capability=capability(client)) for client in clients)
    )
    assert all(body == CONTENT for _, body, _ in answers)
