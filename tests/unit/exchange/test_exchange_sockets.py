"""Nodes that share a pull over real sockets: one copy from the origin, right bytes everywhere, whatever a peer does."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from api.digest import Digest
from api.errors import SourceUnavailable
from api.reference import parse_reference
from cache.exchange import peer
from cache.exchange.bits import below
from cache.exchange.files import Files
from cache.exchange.peer import read_state, write_state
from cache.exchange.view import State
from cache.http.client import Client
from cache.http.network import Network
from cache.http.url import parse_url
from cache.origin import Origin
from cache.sources.artifact import Filter
from cache.store import Store
from cache.transfer.file import WantedFile
from cache.transfer.throttle import Rate
from daemonset.sharing import peers
from tests.support.exchange_group import MIB, Model, Serving, free_address, pull_together, start_nodes
from tests.support.fake_registry import FakeRegistry


class NoFetches:
    """For a file that needs no repair."""

    def refetch(self, chunk: int, into: memoryview, *, avoid: Collection[int]) -> None:
        raise AssertionError(chunk)

    def blame(self, chunk: int, members: Collection[int]) -> None:
        raise AssertionError(chunk)

    def blamed(self) -> Collection[int]:
        return ()


@pytest.fixture
def model() -> Iterator[Model]:
    with FakeRegistry() as registry:
        yield Model(registry)


def test_four_nodes_take_one_copy_from_the_origin(model: Model, stack: ExitStack, tmp_path: Path) -> None:
    nodes = start_nodes(stack, tmp_path, count=4)
    for node in nodes:  # as links do; else processors decide who is late
        node.limit = Rate(16 * MIB)
    pull_together(nodes, model.reference, plain_http=model.registry.host)
    model.check(nodes)
    assert model.sent <= 1.1 * model.size


def test_members_that_are_not_there_cost_no_more_than_their_share(
    model: Model, stack: ExitStack, tmp_path: Path
) -> None:
    nodes = start_nodes(stack, tmp_path, count=2, strangers=[free_address()])
    pull_together(nodes, model.reference, plain_http=model.registry.host)
    model.check(nodes)
    assert model.sent <= 1.35 * model.size


def test_a_peer_that_serves_wrong_bytes_is_set_aside_and_the_bytes_end_right(
    model: Model, stack: ExitStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def state(_: web.Request) -> web.Response:
        return web.Response(body=write_state(State(have=below(model.chunks)), chunks=model.chunks))

    async def zeros(request: web.Request) -> web.Response:
        first, last = (int(number) for number in request.headers["Range"].removeprefix("bytes=").split("-"))
        sizes = {f"sha256:{digest.removeprefix('sha256:')}": len(c) for digest, c in model.registry.blobs.items()}
        total = sizes[request.match_info["digest"]]
        headers = {"Content-Range": f"bytes {first}-{last}/{total}"}
        return web.Response(status=206, body=bytes(last + 1 - first), headers=headers)

    app = web.Application()
    app.add_routes(
        [web.get("/exchange/v1/{id}", state), web.get("/v2/warmset/{id}/blobs/{digest}", zeros)],
    )
    liar = free_address()
    stack.enter_context(Serving(app, address=liar))
    nodes = start_nodes(stack, tmp_path, count=2, strangers=[liar])
    pull_together(nodes, model.reference, plain_http=model.registry.host)
    model.check(nodes)
    said = capsys.readouterr().out
    assert "peer_set_aside" in said
    assert liar in said


@pytest.mark.parametrize("answer", ["nothing", "404", "trickle"])
def test_a_peer_that_has_not_what_it_says_is_set_aside(
    model: Model, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(peer, "_NETWORK", Network(stall_s=2.0))
    monkeypatch.setattr(peers, "HOLD_S", 0.3)  # a healthy peer answers well before it would be taken for stalled

    async def state(_: web.Request) -> web.Response:
        return web.Response(body=write_state(State(have=below(model.chunks)), chunks=model.chunks))

    async def blob(request: web.Request) -> web.StreamResponse:
        if answer == "404":
            return web.Response(status=404)
        if answer == "trickle":
            first, last = (int(number) for number in request.headers["Range"].removeprefix("bytes=").split("-"))
            total = len(model.registry.blobs[request.match_info["digest"]])
            response = web.StreamResponse(status=206, headers={"Content-Range": f"bytes {first}-{last}/{total}"})
            response.content_length = last + 1 - first
            await response.prepare(request)
            await response.write(bytes(1024))
        await asyncio.sleep(60)
        return web.Response(status=500)

    app = web.Application()
    app.add_routes([web.get("/exchange/v1/{id}", state), web.get("/v2/warmset/{id}/blobs/{digest}", blob)])
    address = free_address()
    stack.enter_context(Serving(app, address=address))
    nodes = start_nodes(stack, tmp_path, count=2, strangers=[address])
    pull_together(nodes, model.reference, plain_http=model.registry.host)
    model.check(nodes)
    assert model.sent <= 1.6 * model.size


def test_a_tree_can_be_pulled_from_a_peer_as_from_any_registry(model: Model, stack: ExitStack, tmp_path: Path) -> None:
    first, other = start_nodes(stack, tmp_path, count=2)
    pull_together([first], model.reference, plain_http=model.registry.host)
    assert first.pulled is not None
    name = Origin(parse_reference(model.pinned), Filter()).exchange
    pull_together(
        [other], f"oci://{first.address}/warmset/{name}:{first.pulled.tree.digest.hex}", plain_http=first.address
    )
    model.check([other])


def test_nothing_is_served_under_another_name_than_that_it_was_got_through(
    model: Model, stack: ExitStack, tmp_path: Path
) -> None:
    (node,) = start_nodes(stack, tmp_path, count=1)
    pull_together([node], model.reference, plain_http=model.registry.host)
    assert node.pulled is not None
    digest = next(iter(node.pulled.tree.blobs))
    mine = Origin(parse_reference(model.pinned), Filter()).exchange
    hostile = Origin(parse_reference(f"oci://hostile.example.com/models/m@{model.revision}"), Filter()).exchange
    client = Client(Network())

    def status(path: str) -> tuple[int, bytes]:
        response = client.request("GET", parse_url(f"http://{node.address}{path}"))
        return response.status, response.read(32 * MIB)

    assert status(f"/v2/warmset/{mine}/blobs/{digest}")[0] == 200
    absent = status(f"/v2/warmset/{hostile}/blobs/{Digest('0' * 64)}")
    assert absent[0] == 404
    assert status(f"/v2/warmset/{hostile}/blobs/{digest}") == absent
    assert status(f"/v2/warmset/{mine}/blobs/{Digest('0' * 64)}") == absent
    assert status(f"/exchange/v1/{hostile}")[0] == 404
    assert status("/v2/warmset/..%2f..%2fetc/blobs/passwd")[0] == 404
    client.close()


@given(st.integers(0, 2**70), st.integers(0, 2**70), st.booleans(), st.integers(0, 10**9))
def test_a_state_survives_its_way_over_the_wire(have: int, released: int, resigned: bool, sends: int) -> None:
    state = State(have, released, resigned, sends)
    assert read_state(write_state(state, chunks=71), chunks=71) == state


@given(st.binary(max_size=60))
def test_what_is_no_state_is_refused(body: bytes) -> None:
    with pytest.raises(SourceUnavailable):
        read_state(body, chunks=8)


def test_a_state_of_another_exchange_is_refused() -> None:
    with pytest.raises(SourceUnavailable, match="another exchange"):
        read_state(write_state(State(have=below(9)), chunks=9), chunks=8)


def test_a_second_request_for_a_chunk_cannot_change_it_once_it_has_come(tmp_path: Path) -> None:
    """Else the bytes that are committed would not be those that were hashed."""
    content = os.urandom(2 * MIB)
    digest = Digest(hashlib.sha256(content).hexdigest())
    with Store.open(tmp_path / "store") as store:
        files = Files.open([WantedFile(digest, len(content))], present=frozenset(), store=store, chunk_bytes=MIB)
        for chunk in (0, 1):
            files.write(chunk, chunk * MIB, memoryview(content)[chunk * MIB : (chunk + 1) * MIB], member=None)
            assert files.settle(chunk)
            files.arrived(chunk)
        files.write(0, 0, memoryview(bytes(MIB)), member=1)
        assert not files.settle(0)
        files.hash_all(fetches=NoFetches(), finished=lambda: None)
        files.write(1, MIB, memoryview(bytes(MIB)), member=1)
        assert store.blob_path(digest).read_bytes() == content
        files.close()
