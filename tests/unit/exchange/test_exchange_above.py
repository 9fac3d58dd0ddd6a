"""Whom a member asks in the cohort above, and when it is the origin's turn (rule R6). Times are in seconds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cache.exchange.above import FAR, FIRST_PAUSE_S, JOINING_S, LONGEST_PAUSE_S, PATIENCE_S, Above
from cache.exchange.stripes import Stripes

MEMBERS = 6
CHUNKS = 40
STRIPES = Stripes(seed="tree", members=tuple(f"n{i}" for i in range(MEMBERS)), chunks=CHUNKS)
LATER = 1000.0


def settled() -> Above:
    """All members are there, and have been for long."""
    above = Above(STRIPES, began=0.0)
    for member in range(MEMBERS):
        above.answered(member, now=0.0)
    return above


@given(st.integers(0, CHUNKS - 1), st.sets(st.integers(0, MEMBERS - 1)))
def test_the_first_rank_that_has_not_refused_is_asked(chunk: int, refused: set[int]) -> None:
    left = [member for member in STRIPES.ranks(chunk) if member not in refused]
    assert settled().next(chunk, refused=refused, now=LATER) == (left[0] if left else None)


@given(st.lists(st.tuples(st.sampled_from(["answered", "failed", "never"]), st.integers(0, MEMBERS - 1)), max_size=40))
def test_whatever_happened_a_living_member_is_asked_again_and_a_liar_never(events: list[tuple[str, int]]) -> None:
    above, now = settled(), LATER
    for what, member in events:
        now += 0.01
        if what == "answered":
            above.answered(member, now=now)
        elif what == "failed":
            above.failed(member, since=now - 0.01, now=now)
        else:
            above.never(member)
    liars = {member for what, member in events if what == "never"}
    now += LONGEST_PAUSE_S
    for chunk in range(CHUNKS):
        honest = [member for member in STRIPES.ranks(chunk) if member not in liars]
        assert above.next(chunk, refused=(), now=now) == (honest[0] if honest else None)


def test_who_failed_is_left_alone_for_longer_each_time_and_its_successor_asked() -> None:
    above, now = settled(), LATER
    owner, heir, *_ = STRIPES.ranks(0)
    pauses = []
    for _ in range(3):
        above.failed(owner, since=now, now=now)
        began = now
        while above.next(0, refused=(), now=now) == heir:
            now += FIRST_PAUSE_S / 4
        assert above.next(0, refused=(), now=now) == owner
        pauses.append(now - began)
    assert pauses == sorted(set(pauses))
    above.answered(owner, now=now)
    assert above.next(0, refused=(), now=now) == owner


def test_when_several_fail_after_each_other_nobody_is_asked_for_a_while() -> None:
    above = settled()
    for member in range(FAR):
        assert above.next(0, refused=(), now=LATER) is not None
        above.failed(member, since=LATER, now=LATER)
    assert above.next(0, refused=(), now=LATER) is None
    assert above.next(0, refused=(), now=LATER + LONGEST_PAUSE_S) is not None


def test_a_failure_that_took_long_is_not_soon_repeated() -> None:
    above = settled()
    owner = STRIPES.owner(0)
    above.failed(owner, since=LATER - 3.0, now=LATER)
    assert above.next(0, refused=(), now=LATER + 10 * FIRST_PAUSE_S) != owner


def test_a_cohort_that_begins_at_the_same_time_is_waited_for_and_then_no_more() -> None:
    above = Above(STRIPES, began=0.0)
    for now in (0.0, PATIENCE_S - 0.1):
        for member in range(MEMBERS):
            above.failed(member, since=now, now=now)
        assert above.next(0, refused=(), now=now) is None
        assert above.patient(now)
    assert not above.patient(PATIENCE_S)


def test_an_owner_that_is_not_there_yet_is_waited_for_while_the_others_begin() -> None:
    above = Above(STRIPES, began=0.0)
    owner, heir, *_ = STRIPES.ranks(0)
    above.failed(owner, since=1.0, now=1.0)
    above.answered(heir, now=1.0)
    assert above.next(0, refused=(), now=1.1) is None
    assert above.patient(1.1)
    above.failed(owner, since=1.0 + JOINING_S, now=1.0 + JOINING_S)
    assert above.next(0, refused=(), now=1.0 + JOINING_S) == heir
