"""A cohort that reads from another one: only the root reads the origin, and nothing above need stay. Real sockets."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from cache.exchange import above, ascent, peer
from cache.exchange.group import WRONG_BYTES
from cache.http.network import Network
from cache.transfer.throttle import Rate
from daemonset.sharing import peers
from tests.support.exchange_group import (
    MIB,
    Impostor,
    Model,
    Node,
    at_half,
    begin,
    free_address,
    pull_together,
    start_linked_nodes,
    start_nodes,
    wait_for,
)
from tests.support.fake_registry import FakeRegistry

COPIES = 1.3  # by itself each cohort would take one; on a busy machine some chunks are fetched twice


@pytest.fixture
def model(registry: FakeRegistry) -> Model:
    return Model(registry)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for; a healthy peer answers a held request well before it counts as stalled."""
    monkeypatch.setattr(peer, "_WATCH", Network(connect_timeout_s=1.5, stall_s=1.5))
    monkeypatch.setattr(peer, "_NETWORK", Network(connect_timeout_s=2.0, stall_s=2.0))
    monkeypatch.setattr(peers, "HOLD_S", 0.5)


@pytest.mark.parametrize("sizes", [(3, 3), (4, 1), (2, 3, 2)], ids=str)
def test_only_the_root_reads_the_origin(model: Model, stack: ExitStack, tmp_path: Path, sizes: tuple[int, ...]) -> None:
    nodes: list[Node] = []
    read_from: list[Node] = []
    for number, size in enumerate(sizes):
        read_from = start_nodes(stack, tmp_path / str(number), count=size, above=[node.address for node in read_from])
        nodes += read_from
    pull_together(nodes, model.pinned, plain_http=model.registry.host)
    model.check(nodes)
    assert model.sent <= COPIES * model.size


def test_a_cohort_that_is_warm_already_is_read_to_the_last_byte(model: Model, stack: ExitStack, tmp_path: Path) -> None:
    first = start_nodes(stack, tmp_path / "first", count=2)
    pull_together(first, model.pinned, plain_http=model.registry.host)
    before = len(model.registry.seen)
    gone = free_address()
    below = start_nodes(stack, tmp_path / "below", count=2, above=[*(node.address for node in first), gone])
    pull_together(below, model.pinned, plain_http=model.registry.host)
    model.check(below)
    assert len(model.registry.seen) == before


def test_what_a_cohort_below_reads_counts_as_asked_for(model: Model, stack: ExitStack, tmp_path: Path) -> None:
    """Else an archive's layers would go while they are being read."""
    first = start_nodes(stack, tmp_path / "first", count=2)
    pull_together(first, model.pinned, plain_http=model.registry.host)
    warm_at = time.monotonic()
    below = start_nodes(stack, tmp_path / "below", count=1, above=[node.address for node in first])
    pull_together(below, model.pinned, plain_http=model.registry.host)
    assert [node.exchanges.unasked(since_s=time.monotonic() - warm_at) for node in first] == [[], []]


def test_where_nobody_above_is_there_in_time_the_origin_is_read_once(
    model: Model, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(above, "PATIENCE_S", 0.3)
    nodes = start_nodes(stack, tmp_path, count=2, above=[free_address(), free_address()])
    pull_together(nodes, model.pinned, plain_http=model.registry.host)
    model.check(nodes)
    assert model.sent <= COPIES * model.size


@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_a_cohort_that_is_gone_half_way_costs_at_most_the_rest_of_a_copy(
    model: Model, stack: ExitStack, tmp_path: Path, how: str
) -> None:
    linked = start_linked_nodes(stack, tmp_path / "first", count=2)
    first = [node for node, _ in linked]
    below = start_nodes(stack, tmp_path / "below", count=2, above=[node.address for node in first])
    for node in (*first, *below):
        node.limit = Rate(16 * MIB)
    threads = begin([*first, *below], model.pinned, plain_http=model.registry.host)

    def die() -> None:
        for node, link in linked:
            if how == "killed":
                link.__exit__(None, None, None)
            link.dead = True
            node.cancel.set()

    at_half(below[0], model, die)
    wait_for(threads[2:], below)
    for thread in threads[:2]:
        thread.join(60)
    model.check(below)
    assert model.sent <= 1.7 * model.size


async def trickle(request: web.Request, *, model: Model) -> web.StreamResponse:
    first, last = (int(number) for number in request.headers["Range"].removeprefix("bytes=").split("-"))
    blob = model.registry.blobs[request.match_info["digest"]]
    response = web.StreamResponse(status=206, headers={"Content-Range": f"bytes {first}-{last}/{len(blob)}"})
    response.content_length = last + 1 - first
    await response.prepare(request)
    for start in range(first, last + 1, 100):
        await response.write(blob[start : min(start + 100, last + 1)])
        await asyncio.sleep(0.1)
    return response


def test_a_member_above_that_crawls_is_passed_over(
    model: Model, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ascent, "LATE_S", 0.5)
    crawls = Impostor(stack, model, partial(trickle, model=model))
    first = start_nodes(stack, tmp_path / "first", count=2)
    pull_together(first, model.pinned, plain_http=model.registry.host)
    before = model.sent
    (below,) = start_nodes(stack, tmp_path / "below", count=1, above=[crawls.address, *(n.address for n in first)])
    pull_together([below], model.pinned, plain_http=model.registry.host)
    model.check([below])
    assert model.sent == before


async def zeros(request: web.Request, *, model: Model) -> web.Response:
    first, last = (int(number) for number in request.headers["Range"].removeprefix("bytes=").split("-"))
    total = len(model.registry.blobs[request.match_info["digest"]])
    headers = {"Content-Range": f"bytes {first}-{last}/{total}"}
    return web.Response(status=206, body=bytes(last + 1 - first), headers=headers)


def test_a_liar_above_is_named_by_who_asked_it_and_who_passed_its_bytes_on_is_not(
    model: Model, stack: ExitStack, tmp_path: Path
) -> None:
    liar = Impostor(stack, model, partial(zeros, model=model))
    first = start_nodes(stack, tmp_path / "first", count=2)
    pull_together(first, model.pinned, plain_http=model.registry.host)
    below = start_nodes(stack, tmp_path / "below", count=3, above=[liar.address, *(node.address for node in first)])
    pull_together(below, model.pinned, plain_http=model.registry.host)
    model.check(below)
    named = {(one.peer, one.reason) for node in below for one in node.exchanges.peers_set_aside()}
    assert named == {(liar.address, WRONG_BYTES)}
