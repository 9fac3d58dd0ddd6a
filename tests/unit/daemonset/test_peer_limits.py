"""What one peer, or all, may take of a node at once. Over real sockets, with limits that a test can reach."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import ClientSession

from api.digest import Digest
from api.tree import Tree, TreeFile
from cache.exchange.group import Exchanges, Group
from cache.exchange.holding import Holding, in_order
from cache.store import Store
from daemonset import serving
from daemonset.sharing import peers, turnstile
from daemonset.sharing.turnstile import Turnstile, Uplink, surplus
from tests.support.exchange_group import free_address

SIZE = 1_000_000
EXCHANGE = "ab" * 32


class Peer:
    def __init__(self, url: str, digest: Digest, content: bytes) -> None:
        self.blob = f"{url}/v2/warmset/{EXCHANGE}/blobs/{digest}"
        self.state = f"{url}/exchange/v1/{EXCHANGE}?members=2"
        self.address = url.removeprefix("http://")
        self.content = content


@pytest.fixture
def rate() -> int | None:
    return None


@pytest.fixture
def threads() -> int:
    return 1


@pytest.fixture
async def peer(tmp_path: Path, rate: int | None, threads: int) -> AsyncIterator[Peer]:
    content = os.urandom(SIZE)
    digest = Digest(hashlib.sha256(content).hexdigest())
    with Store.open(tmp_path / "cache") as store:
        store.commit_small([(digest, content)])
        tree = Tree.of([TreeFile("model.gguf", SIZE, digest)])
        store.publish_tree(tree)
        exchanges = Exchanges(Group.listed(["127.0.0.1:1"], me="127.0.0.1:1"))
        exchanges.hold(Holding(EXCHANGE, tree, in_order(tree.blobs)))
        uplink = None if rate is None else Uplink(rate)
        app = partial(peers.application, exchanges, store=store, admission=None, turnstile=Turnstile(), uplink=uplink)
        host, _, port = free_address().rpartition(":")
        async with serving.serving_in_threads(app, host=host, port=int(port), tls=None, threads=threads):
            yield Peer(f"http://{host}:{port}", digest, content)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("rate", [100_000])  # so that sending takes a while
async def test_a_client_with_too_many_requests_under_way_is_told_to_come_later(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "MAX_REQUESTS_EACH", 2)
    address, _, port = peer.address.rpartition(":")
    waiting = []
    for _ in range(2):  # they ask for bytes and take none of them
        reader, writer = await asyncio.open_connection(address, int(port), limit=1024)
        path = peer.blob.partition(peer.address)[2]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.read(64)
        waiting.append(writer)
    async with ClientSession() as session:
        async with session.get(peer.state) as answer:
            first = answer.status
        for writer in waiting:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(20):
            while True:
                async with session.get(peer.state) as answer:
                    if answer.status == 200:
                        break
                await asyncio.sleep(0.05)
    assert first == 503


def test_all_clients_together_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "MAX_REQUESTS", 3)
    gate = Turnstile()
    with gate.inside("a"), gate.inside("b"), gate.inside("c"):
        assert gate.full("d")
    assert not gate.full("d")


async def test_connections_beyond_a_clients_share_are_closed(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "MAX_CONNECTIONS_EACH", 4)
    monkeypatch.setattr(serving, "LOOK_S", 0.05)
    address, _, port = peer.address.rpartition(":")
    connections = [await asyncio.open_connection(address, int(port)) for _ in range(9)]
    async with asyncio.timeout(20):
        gone = 0
        for reader, _ in connections[4:]:
            try:
                gone += await reader.read() == b""
            except ConnectionResetError:
                gone += 1
    assert gone == 5
    connections[0][1].write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await connections[0][0].readline()).startswith(b"HTTP/1.1 200")
    for _, writer in connections:
        writer.close()


def test_the_latest_connections_are_the_surplus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "MAX_CONNECTIONS_EACH", 2)
    monkeypatch.setattr(turnstile, "MAX_CONNECTIONS", 4)
    assert surplus(["a", "a", "a", "b", "c", "d"]) == [2, 5]


@pytest.mark.parametrize(
    "headers", [{"X-Long": "a" * 5000}, {f"X-{number}": "a" for number in range(80)}], ids=["long", "many"]
)
async def test_headers_that_are_too_large_are_refused(peer: Peer, headers: dict[str, str]) -> None:
    async with ClientSession() as session, session.get(peer.state, headers=headers) as answer:
        assert answer.status == 400


async def test_a_line_that_is_too_long_is_refused(peer: Peer) -> None:
    async with ClientSession() as session, session.get(f"{peer.state}&{'a' * 4000}") as answer:
        assert answer.status == 400


@pytest.mark.parametrize("rate", [None, 10**9], ids=["sendfile", "pieces"])
@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-99", 206, 0, 100),
        ("bytes=999990-2000000", 206, 999_990, SIZE),
        ("bytes=-10", 206, SIZE - 10, SIZE),
        ("bytes=1000000-1000001", 416, 0, 0),
        ("bytes=0-1,5-6", 416, 0, 0),
        ("bytes=5-1", 416, 0, 0),
        ("lines=1-2", 416, 0, 0),
    ],
)
async def test_a_range_is_answered_exactly_or_not_at_all(
    peer: Peer, asked: str, status: int, start: int, stop: int
) -> None:
    async with ClientSession() as session, session.get(peer.blob, headers={"Range": asked}) as answer:
        assert answer.status == status
        if status == 206:
            assert await answer.read() == peer.content[start:stop]


@pytest.mark.parametrize("rate", [2_000_000])
async def test_what_leaves_for_peers_keeps_to_the_limit(peer: Peer) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def read() -> None:
        async with ClientSession() as session, session.get(peer.blob) as answer:
            assert await answer.read() == peer.content

    await asyncio.gather(read(), read(), read())
    assert loop.time() - began >= 1.3  # three megabytes at two a second, the first piece at once


@pytest.mark.parametrize("verb", ["PUT", "POST", "DELETE", "PATCH"])
async def test_nothing_can_be_written(peer: Peer, verb: str) -> None:
    async with ClientSession() as session, session.request(verb, peer.blob, data=b"x") as answer:
        assert answer.status == 405
