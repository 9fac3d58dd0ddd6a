"""How often the node's status is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

import daemonset.report
from api.errors import ClusterUnavailable
from api.resources import NodeCacheStatus, NodeModelState, NodeModelStatus, PeerSetAside
from daemonset.changed import Changed
from daemonset.report import IDLE_S, PROGRESS_S, Reporter, due_in_s, first_idle_s
from tests.unit.daemonset.doubles import eventually


def status(*, state: NodeModelState = "Pulling", done: int = 0, reason: str = "", used: int = 0) -> NodeCacheStatus:
    model = NodeModelStatus(model="a" * 32, revision="r", state=state, bytes_done=done, reason=reason)
    return NodeCacheStatus(cache_id="c", used=used, models=[model])


@pytest.mark.parametrize(
    "now",
    [
        status(state="Ready"),
        status(reason="Stalled"),
        replace(status(), cache_id="d"),
        replace(status(), models=[]),
        replace(status(), peers_set_aside=[PeerSetAside(peer="n7", reason="WrongBytes")]),
    ],
)
def test_a_change_of_state_is_due_at_once(now: NodeCacheStatus) -> None:
    assert due_in_s(status(), now, age_s=0.0) <= 0


@pytest.mark.parametrize("now", [status(done=5), status(used=5)])
def test_progress_is_due_half_a_minute_after_the_last_write(now: NodeCacheStatus) -> None:
    assert due_in_s(status(), now, age_s=10.0) == PROGRESS_S - 10.0


def test_without_any_change_only_a_sign_of_life_is_due() -> None:
    assert due_in_s(status(), status(), age_s=0.0) == IDLE_S


def test_nodes_that_have_news_together_show_their_next_signs_of_life_apart() -> None:
    waits = sorted(first_idle_s() for _ in range(1000))
    assert IDLE_S / 10 <= waits[0] < IDLE_S / 3
    assert IDLE_S * 2 / 3 < waits[-1] <= IDLE_S
    assert due_in_s(status(), status(), age_s=10.0, idle_s=waits[0]) == waits[0] - 10.0


def test_the_first_status_is_due_at_once() -> None:
    assert due_in_s(None, status(), age_s=0.0) <= 0


@dataclass
class Desk:
    """A reporter's surroundings."""

    now: NodeCacheStatus = field(default_factory=status)
    written: list[NodeCacheStatus] = field(default_factory=list)
    failing: int = 0
    changed: Changed = field(default_factory=Changed)

    async def current(self) -> NodeCacheStatus:
        return self.now

    async def write(self, wrote: NodeCacheStatus) -> None:
        if self.failing:
            self.failing -= 1
            raise ClusterUnavailable("the API server does not answer")
        self.written.append(wrote)

    def set(self, now: NodeCacheStatus) -> None:
        self.now = now
        self.changed.set()


async def running(desk: Desk, act: Callable[[Reporter], object]) -> None:
    reporter = Reporter(current=desk.current, write=desk.write, changed=desk.changed)
    loop = asyncio.create_task(reporter.run())
    try:
        await eventually(lambda: desk.written)
        act(reporter)
        await asyncio.sleep(0.1)
    finally:
        loop.cancel()
        await asyncio.wait([loop])


async def test_each_state_is_written_as_it_comes_with_the_time() -> None:
    desk = Desk()
    await running(desk, lambda _: desk.set(status(state="Ready")))
    assert [w.models[0].state for w in desk.written] == ["Pulling", "Ready"]
    assert all(w.last_update for w in desk.written)


async def test_progress_does_not_make_a_write_of_its_own() -> None:
    desk = Desk()
    await running(desk, lambda _: [desk.set(status(done=n)) for n in range(50)])
    assert len(desk.written) == 1


async def test_an_object_made_anew_gets_the_whole_again() -> None:
    desk = Desk()
    await running(desk, lambda reporter: reporter.forget())
    assert len(desk.written) == 2


async def test_a_failed_write_is_tried_again_with_the_newest_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemonset.report, "RETRY_S", (0.01, 0.02))
    desk = Desk(failing=3)
    await running(desk, lambda _: None)
    assert len(desk.written) == 1


async def test_an_object_that_appears_ends_the_pause_after_failed_writes() -> None:
    desk = Desk(failing=1)
    reporter = Reporter(current=desk.current, write=desk.write, changed=desk.changed)
    loop = asyncio.create_task(reporter.run())
    await eventually(lambda: desk.failing == 0)
    reporter.forget()
    await eventually(lambda: desk.written, within_s=0.4)
    loop.cancel()
    await asyncio.wait([loop])
