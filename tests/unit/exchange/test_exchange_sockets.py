"""Nodes that share a pull over real sockets: one copy from the origin, right bytes everywhere, whatever a peer does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from api.digest import Digest
from api.errors import SourceUnavailable
from cache.exchange.bits import below
from cache.exchange.group import exchange_id
from cache.exchange.peer import read_state, write_state
from cache.exchange.view import State
from cache.http.client import Client
from cache.http.network import Network
from cache.http.url import parse_url
from tests.support.exchange_group import Node, Serving, free_address, pull_together, start_nodes
from tests.support.fake_registry import FILEPATH, MODEL_CONFIG, MODEL_MANIFEST, RAW, FakeRegistry

MIB = 1 << 20


class Model:
    """A model of two large files and a small one in a registry that counts what leaves it."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.files = {
            "a.safetensors": os.urandom(25 * MIB + 17),
            "b.safetensors": os.urandom(14 * MIB),
            "c.json": b"{}",
        }
        layers = [
            {
                "mediaType": RAW,
                "digest": str(registry.add_blob(content)),
                "size": len(content),
                "annotations": {FILEPATH: name},
            }
            for name, content in self.files.items()
        ]
        config = registry.add_blob(b'{"a":1}')
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": MODEL_MANIFEST,
            "config": {"mediaType": MODEL_CONFIG, "digest": str(config), "size": 7},
            "layers": layers,
        }
        registry.add_manifest("models/m", "v1", document)
        self.reference = f"oci://{registry.host}/models/m:v1"

    @property
    def size(self) -> int:
        return sum(len(content) for content in self.files.values())

    @property
    def sent(self) -> int:
        return sum(seen.sent for seen in self.registry.seen if "/blobs/" in seen.path)

    def check(self, nodes: list[Node]) -> None:
        for node in nodes:
            assert node.pulled is not None
            for name, content in self.files.items():
                assert (node.pulled.path / name).read_bytes() == content


@pytest.fixture
def model() -> Iterator[Model]:
    with FakeRegistry() as registry:
        yield Model(registry)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_four_nodes_take_one_copy_from_the_origin(model: Model, stack: ExitStack, tmp_path: Path) -> None:
    nodes = start_nodes(stack, tmp_path, count=4)
    pull_together(nodes, model.reference, plain_http=model.registry.host)
    model.check(nodes)
    assert model.sent <= 1.1 * model.size


def test_a_late_joiner_takes_nothing_but_the_small_files(model: Model, stack: ExitStack, tmp_path: Path) -> None:
    nodes = start_nodes(stack, tmp_path, count=3)
    pull_together(nodes[:2], model.reference, plain_http=model.registry.host)
    before = model.sent
    pull_together(nodes[2:], model.reference, plain_http=model.registry.host)
    model.check(nodes)
    assert model.sent - before < 1024


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
        return web.Response(body=write_state(State(have=below(40)), chunks=40))

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


def test_a_tree_can_be_pulled_from_a_peer_as_from_any_registry(model: Model, stack: ExitStack, tmp_path: Path) -> None:
    first, other = start_nodes(stack, tmp_path, count=2)
    pull_together([first], model.reference, plain_http=model.registry.host)
    assert first.pulled is not None
    name = exchange_id(f"oci://{model.registry.host}/models/m", first.pulled.tree.digest)
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
    mine = exchange_id(f"oci://{model.registry.host}/models/m", node.pulled.tree.digest)
    hostile = exchange_id("oci://hostile.example.com/models/m", node.pulled.tree.digest)
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
