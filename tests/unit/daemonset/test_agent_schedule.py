"""Which pulls start, stop and give way: the decision alone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from api.errors import NotFound, RateLimited, SourceUnavailable
from daemonset.pulling.desired import Desired
from daemonset.pulling.schedule import PERMANENT_RETRY_S, RETRY_CAP_S, Snapshot, plan, retry_delay_s
from tests.unit.daemonset.doubles import wanted

EMPTY = Snapshot(
    desired={},
    held=frozenset(),
    flying={},
    stopping=frozenset(),
    retry_at={},
    now=100.0,
    slots=2,
    removable=frozenset(),
)


def table(*entries: Desired) -> dict[str, Desired]:
    return {entry.key: entry for entry in entries}


def test_highest_priority_starts_first_and_equals_in_the_order_of_the_list() -> None:
    a, b, c = wanted("a"), wanted("b", version="v2"), wanted("c", version="v3", priority=5)
    assert plan(replace(EMPTY, desired=table(a, b, c))).start == (c, a)


def test_two_models_of_one_revision_are_never_pulled_at_once() -> None:
    a, b = wanted("a"), wanted("b")
    decision = plan(replace(EMPTY, desired=table(a, b)))
    assert decision.start == (a,)
    assert plan(replace(EMPTY, desired=table(a, b), flying=table(a))).start == ()


def test_what_is_held_is_not_pulled_again() -> None:
    a = wanted("a")
    assert plan(replace(EMPTY, desired=table(a), held=frozenset({a.key}))).start == ()


def test_a_failed_pull_waits_for_its_time_and_says_when() -> None:
    a = wanted("a")
    decision = plan(replace(EMPTY, desired=table(a), retry_at={a.key: 130.0}))
    assert decision.start == ()
    assert decision.wake_at == 130.0


def test_a_pull_stops_when_its_entry_becomes_absent_or_goes() -> None:
    a, b = wanted("a"), wanted("b", version="v2")
    decision = plan(replace(EMPTY, desired=table(replace(a, absent=True)), flying=table(a, b)))
    assert decision.stop == (a.key, b.key)


def test_a_higher_priority_takes_the_slot_of_the_lowest() -> None:
    low, mid = wanted("low", priority=-1), wanted("mid", version="v2")
    urgent = wanted("urgent", version="v3", priority=10)
    decision = plan(replace(EMPTY, desired=table(low, mid, urgent), flying=table(low, mid)))
    assert decision.stop == (low.key,)
    assert decision.start == ()


def test_only_one_pull_gives_way_for_one_that_waits() -> None:
    low, mid = wanted("low", priority=-1), wanted("mid", version="v2")
    urgent = wanted("urgent", version="v3", priority=10)
    decision = plan(
        replace(EMPTY, desired=table(low, mid, urgent), flying=table(low, mid), stopping=frozenset({low.key}))
    )
    assert decision.stop == ()


def test_equal_priority_never_takes_a_slot() -> None:
    a, b, c = wanted("a"), wanted("b", version="v2"), wanted("c", version="v3")
    assert plan(replace(EMPTY, desired=table(a, b, c), flying=table(a, b))).stop == ()


def test_only_absent_removes_and_only_what_is_removable() -> None:
    kept, going, in_use = wanted("kept"), wanted("going", absent=True), wanted("in-use", absent=True)
    held = frozenset({kept.key, going.key, in_use.key})
    decision = plan(
        replace(EMPTY, desired=table(kept, going, in_use), held=held, removable=frozenset({kept.key, going.key}))
    )
    assert decision.remove == (going.key,)


def test_an_empty_list_removes_nothing() -> None:
    a = wanted("a")
    assert plan(replace(EMPTY, held=frozenset({a.key}), removable=frozenset({a.key}))).remove == ()


entries = st.builds(
    wanted,
    st.sampled_from("abcdef"),
    version=st.sampled_from(["v1", "v2", "v3"]),
    absent=st.booleans(),
    priority=st.integers(-2, 2),
)


@given(
    desired=st.lists(entries, max_size=8),
    flying=st.lists(entries, max_size=3),
    held=st.lists(entries, max_size=4),
    slots=st.integers(1, 4),
)
def test_never_more_pulls_than_slots_and_never_two_of_one_revision(
    desired: list[Desired], flying: list[Desired], held: list[Desired], slots: int
) -> None:
    under_way = {entry.revision: entry for entry in flying}
    snapshot = replace(
        EMPTY,
        desired=table(*desired),
        flying=table(*under_way.values()),
        held=frozenset(entry.key for entry in held) - table(*under_way.values()).keys(),
        slots=max(slots, len(under_way)),
    )
    decision = plan(snapshot)
    together = [*snapshot.flying.values(), *decision.start]
    assert len(together) <= snapshot.slots
    assert len({entry.revision for entry in together}) == len(together)
    assert not any(entry.absent or entry.key in snapshot.held for entry in decision.start)
    assert set(decision.stop) <= snapshot.flying.keys()


def test_retries_grow_and_stay_bounded() -> None:
    error = SourceUnavailable("gone")
    assert 0.5 <= retry_delay_s(error, attempt=1) <= 1.0
    assert retry_delay_s(error, attempt=1000) <= RETRY_CAP_S


def test_a_retry_never_comes_before_the_source_allows_it() -> None:
    error = RateLimited("slow down", retry_after_s=90.0)
    assert retry_delay_s(error, attempt=1) >= 90.0


def test_what_a_retry_hardly_mends_is_tried_seldom() -> None:
    assert retry_delay_s(NotFound("no such tag"), attempt=1) >= 0.8 * PERMANENT_RETRY_S
