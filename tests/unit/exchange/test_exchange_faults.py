"""What a peer or the origin can do to a pull that others share: it costs time, never bytes. Over real sockets.

Rows of docs/faults.md; whole processes are killed, stopped and cut apart in tests/faults.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from aiohttp import web

from api.errors import SourceUnavailable
from cache.exchange import peer, run
from cache.exchange.bits import below
from cache.exchange.group import DOES_NOT_SEND, WRONG_BYTES
from cache.exchange.peer import write_state
from cache.exchange.view import State
from cache.http.network import Network
from cache.http.retry import RetryPolicy
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
from tests.support.fake_registry import FakeRegistry, Fault


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for; a healthy peer answers a held request well before it counts as stalled."""
    monkeypatch.setattr(peer, "_WATCH", Network(connect_timeout_s=1.5, stall_s=1.5))
    monkeypatch.setattr(peer, "_NETWORK", Network(connect_timeout_s=3.0, stall_s=5.0))
    monkeypatch.setattr(peers, "HOLD_S", 0.5)
    monkeypatch.setattr(run, "UPSTREAM_POLICY", RetryPolicy(attempts=3, first_s=0.1))


def named(node: Node) -> set[tuple[str, str]]:
    return {(one.peer, one.reason) for one in node.exchanges.peers_set_aside()}


# -- a member that goes away


def test_a_member_that_is_silently_gone_is_done_without(
    registry: FakeRegistry, stack: ExitStack, tmp_path: Path
) -> None:
    model = Model(registry)
    linked = start_linked_nodes(stack, tmp_path, count=4)
    nodes = [node for node, _ in linked]
    (gone, link) = linked[-1]
    for node in nodes:
        node.limit = Rate(16 * MIB)
    threads = begin(nodes, model.reference, plain_http=registry.host)

    def die() -> None:
        link.dead = True
        gone.cancel.set()

    at_half(gone, model, die)
    wait_for(threads[:-1], nodes[:-1])
    threads[-1].join(60)
    model.check(nodes[:-1])
    assert model.sent <= 1.5 * model.size
    assert not any(named(node) for node in nodes[:-1])  # it told no lie


def test_a_member_whose_link_crawls_is_done_without(registry: FakeRegistry, stack: ExitStack, tmp_path: Path) -> None:
    model = Model(registry)
    linked = start_linked_nodes(stack, tmp_path, count=3)
    nodes = [node for node, _ in linked]
    linked[-1][1].rate = 1000.0
    for node in nodes:
        node.limit = Rate(16 * MIB)
    pull_together(nodes, model.reference, plain_http=registry.host)
    model.check(nodes)
    assert model.sent < 2 * model.size  # what it alone brings, at the most, is read twice


def test_a_member_that_starts_late_joins_in(registry: FakeRegistry, stack: ExitStack, tmp_path: Path) -> None:
    model = Model(registry)
    nodes = start_nodes(stack, tmp_path, count=3)
    for node in nodes:
        node.limit = Rate(16 * MIB)
    threads = begin(nodes[:2], model.reference, plain_http=registry.host)
    at_half(nodes[0], model, lambda: threads.extend(begin(nodes[2:], model.reference, plain_http=registry.host)))
    wait_for(threads, nodes)
    model.check(nodes)
    assert model.sent <= 1.2 * model.size


# -- a member that lies


def test_a_member_that_is_always_too_busy_for_what_it_says_it_has_is_set_aside(
    registry: FakeRegistry, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BUSY_STRIKE", 10)
    model = Model(registry)

    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503)

    liar = Impostor(stack, model, busy)
    nodes = start_nodes(stack, tmp_path, count=2, strangers=[liar.address])
    pull_together(nodes, model.reference, plain_http=registry.host)
    model.check(nodes)
    assert (liar.address, DOES_NOT_SEND) in named(nodes[0]) | named(nodes[1])


def test_a_member_that_refuses_what_it_says_it_has_is_set_aside(
    registry: FakeRegistry, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BUSY_STRIKE", 10)
    model = Model(registry)

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=409, body=write_state(State(have=below(model.chunks)), chunks=model.chunks))

    liar = Impostor(stack, model, refuse)
    nodes = start_nodes(stack, tmp_path, count=2, strangers=[liar.address])
    pull_together(nodes, model.reference, plain_http=registry.host)
    model.check(nodes)
    assert (liar.address, DOES_NOT_SEND) in named(nodes[0]) | named(nodes[1])


async def _zeros(request: web.Request, model: Model) -> web.Response:
    first, last = (int(number) for number in request.headers["Range"].removeprefix("bytes=").split("-"))
    total = len(model.registry.blobs[request.match_info["digest"]])
    headers = {"Content-Range": f"bytes {first}-{last}/{total}"}
    return web.Response(status=206, body=bytes(last + 1 - first), headers=headers)


def test_a_member_that_serves_wrong_bytes_is_named_and_asked_never_again(
    registry: FakeRegistry, stack: ExitStack, tmp_path: Path
) -> None:
    model = Model(registry)
    asked = []

    async def zeros(request: web.Request) -> web.Response:
        asked.append(request.path)
        return await _zeros(request, model)

    liar = Impostor(stack, model, zeros)
    node, other = start_nodes(stack, tmp_path, count=2, strangers=[liar.address])
    pull_together([node, other], model.reference, plain_http=registry.host)
    model.check([node, other])
    assert (liar.address, WRONG_BYTES) in named(node)
    # Another pull of the same process trusts it no more.
    node.store.remove_tree(node.pulled.tree.digest)  # type: ignore[union-attr]
    node.exchanges._held.clear()
    before = len(asked)
    pull_together([node], model.reference, plain_http=registry.host)
    model.check([node])
    assert len(asked) == before


def test_only_what_came_from_the_liar_is_fetched_again(
    registry: FakeRegistry, stack: ExitStack, tmp_path: Path
) -> None:
    model = Model(registry, large=[24 * MIB])
    brought: list[str] = []

    async def zeros(request: web.Request) -> web.Response:
        brought.append(request.headers["Range"])
        return await _zeros(request, model)

    liar = Impostor(stack, model, zeros)
    honest, node = start_nodes(stack, tmp_path, count=2, strangers=[liar.address])
    honest.exchanges.set_aside(liar.address, reason=WRONG_BYTES, message="known to this one")
    pull_together([honest], model.pinned, plain_http=registry.host)
    before = model.sent
    pull_together([node], model.pinned, plain_http=registry.host)
    model.check([honest, node])
    # What the honest peer brought is suspect too, until the liar is found.
    assert model.sent - before <= len(model.files["model-0.safetensors"])
    assert named(node) == {(liar.address, WRONG_BYTES)}


# -- origin and peers


def test_a_member_that_the_origin_turns_away_gets_all_from_the_others(
    registry: FakeRegistry, stack: ExitStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model(registry)
    nodes = start_nodes(stack, tmp_path, count=3)
    for node in nodes:
        node.limit = Rate(16 * MIB)
    outside = nodes[-1]
    threads = begin(nodes[:2], model.pinned, plain_http=registry.host)
    tls = ""  # which the registry does not speak
    at_half(nodes[0], model, lambda: threads.extend(begin([outside], model.pinned, plain_http=tls)))
    wait_for(threads, nodes)
    model.check(nodes)
    assert "exchange.cut_off" in capsys.readouterr().out
    assert model.sent <= 1.2 * model.size


def test_with_the_peers_down_the_origin_alone_serves(registry: FakeRegistry, stack: ExitStack, tmp_path: Path) -> None:
    model = Model(registry)
    (node,) = start_nodes(stack, tmp_path, count=1, strangers=[free_address(), free_address()])
    pull_together([node], model.pinned, plain_http=registry.host)
    model.check([node])
    assert model.sent == model.size


def test_with_both_down_a_pull_ends_by_name_and_the_next_goes_on_where_it_was(stack: ExitStack, tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        model = Model(registry)
        nodes = start_nodes(stack, tmp_path, count=2)
        for node in nodes:
            node.limit = Rate(16 * MIB)
        threads = begin(nodes, model.pinned, plain_http=registry.host)
        at_half(nodes[0], model, lambda: registry.faults.append(Fault(times=10**6, status=503)))
        with pytest.raises(SourceUnavailable):
            wait_for(threads, nodes)
        for thread in threads:
            thread.join(60)
        assert all(isinstance(node.error, SourceUnavailable) for node in nodes)
        registry.faults.clear()
        before = model.sent
        for node in nodes:
            node.error = None
        pull_together(nodes, model.pinned, plain_http=registry.host)
        model.check(nodes)
        assert model.sent - before < 0.7 * model.size
