"""What goes when the disk is too full, and what never does."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.digest import Digest
from cache.store.capacity import OWN_DISK, SHARED, UNLIMITED, Amount, Disk, Stored, plan_eviction, what_holds

GIB = 1 << 30
NOTHING = Amount(0, 0)


def blob(name: str) -> Digest:
    return Digest(hashlib.sha256(name.encode()).hexdigest())


def tree(name: str, *, used: float = 0.0, hold: str = "", group: str = "", priority: int = 0, **blobs: int) -> Stored:
    sizes = {blob(of): size for of, size in (blobs or {name: 100}).items()}
    return Stored(tree=blob(f"tree {name}"), blobs=sizes, last_used=used, hold=hold, group=group, priority=priority)


def names(stored: list[Stored], need: int) -> list[Digest]:
    return [step.stored.tree for step in plan_eviction(stored, Amount(need, 0)).steps]


def test_least_recently_used_goes_first() -> None:
    old, new = tree("old", used=1), tree("new", used=2)
    assert names([new, old], 100) == [old.tree]
    assert names([new, old], 101) == [old.tree, new.tree]


def test_what_is_held_never_goes_and_then_nothing_does() -> None:
    held, free = tree("held", hold="mounted"), tree("free")
    plan = plan_eviction([held, free], Amount(150, 0))
    assert plan.steps == ()
    assert plan.missing == Amount(50, 0)
    assert plan.kept == (held, free)


def test_a_member_of_a_group_goes_only_without_another_choice() -> None:
    member, other = tree("member", used=1, group="g"), tree("other", used=9, priority=5)
    assert names([member, other], 100) == [other.tree]
    assert names([member, other], 200) == [other.tree, member.tree]


def test_lower_priority_goes_before_older() -> None:
    low, high = tree("low", used=9, priority=-1), tree("high", used=1, priority=3)
    assert names([high, low], 100) == [low.tree]


def test_shared_blobs_come_free_with_the_last_tree_that_links_them() -> None:
    a, b = tree("a", used=1, shared=100, only_a=10), tree("b", used=2, shared=100, only_b=1)
    assert plan_eviction([a, b], Amount(11, 0)).steps[-1].frees == Amount(101, 2)
    assert names([a, b], 10) == [a.tree]


def test_a_tree_that_frees_nothing_beside_one_that_stays_is_spared() -> None:
    a, held = tree("a", used=1, shared=100), tree("held", hold="mounted", shared=100)
    other = tree("other", used=2)
    assert names([a, held, other], 100) == [other.tree]


def test_small_trees_before_a_large_one_are_spared_when_the_large_one_is_enough() -> None:
    small, large = tree("small", used=1, s=1), tree("large", used=2, l=1000)
    assert names([small, large], 500) == [large.tree]


def test_inodes_count_as_bytes_do() -> None:
    many, few = tree("many", used=2, a=1, b=1, c=1), tree("few", used=1, x=100)
    assert [s.stored for s in plan_eviction([few, many], Amount(0, 3)).steps] == [many]


def test_no_need_evicts_nothing() -> None:
    assert plan_eviction([tree("a")], NOTHING).steps == ()


@given(
    st.lists(
        st.builds(
            lambda name, used, hold, group, priority, links: tree(
                str(name), used=used, hold=hold, group=group, priority=priority, **{f"b{n}": 10 + n for n in links}
            ),
            st.integers(),
            st.integers(0, 5).map(float),
            st.sampled_from(["", "", "mounted"]),
            st.sampled_from(["", "g"]),
            st.integers(-1, 1),
            st.sets(st.integers(0, 6), min_size=1, max_size=4),
        ),
        unique_by=lambda stored: stored.tree,
        max_size=8,
    ),
    st.builds(Amount, st.integers(0, 120), st.integers(0, 8)),
)
def test_any_plan_is_enough_needs_each_step_and_breaks_no_hold(stored: list[Stored], need: Amount) -> None:
    plan = plan_eviction(stored, need)
    going = {step.stored.tree for step in plan.steps}

    def gives(trees: set[Digest]) -> Amount:
        stay = {b for s in stored if s.tree not in trees for b in s.blobs}
        freed = {b: size for s in stored if s.tree in trees for b, size in s.blobs.items() if b not in stay}
        return Amount(sum(freed.values()), len(freed))

    assert not any(step.stored.hold for step in plan.steps)
    assert {kept.tree for kept in plan.kept} == {s.tree for s in stored} - going
    if plan.missing:
        assert not going
        assert plan.missing == need.less(gives({s.tree for s in stored if not s.hold}))
    else:
        assert not need.less(gives(going))
        assert all(need.less(gives(going - {one})) for one in going)
        total = Amount(sum(s.frees.bytes for s in plan.steps), sum(s.frees.inodes for s in plan.steps))
        assert total == gives(going)


@pytest.mark.parametrize(
    ("free", "room", "excess"),
    [(500, 300, 0), (200, 0, 0), (199, 0, 51), (0, 0, 250)],
    ids=["below", "at the high mark", "just above it", "full"],
)
def test_a_disk_is_filled_to_the_high_mark_and_emptied_to_the_low_one(free: int, room: int, excess: int) -> None:
    disk = Disk(1000, free, 0, 0)
    assert disk.room(SHARED).bytes == room
    assert disk.excess(SHARED).bytes == excess


def test_inodes_have_marks_of_their_own() -> None:
    disk = Disk(1000, 1000, 100, 5)
    assert disk.room(SHARED) == Amount(800, 0)
    assert disk.excess(SHARED) == Amount(0, 10)
    assert disk.excess(OWN_DISK) == NOTHING


def test_a_file_system_without_a_number_of_inodes_has_no_excess_of_them() -> None:
    assert Disk(1000, 900, 0, 0).excess(SHARED) == NOTHING


def test_without_marks_all_that_is_free_may_be_filled() -> None:
    assert Disk(1000, 10, 100, 1).room(UNLIMITED) == Amount(10, 1)
    assert Disk(1000, 0, 100, 0).excess(UNLIMITED) == NOTHING


def test_the_defaults_stay_clear_of_kubelet() -> None:
    """kubelet: images go from 85 % used, pods from 15 % free (imagefs), 10 % (nodefs), 5 % of the inodes."""
    assert 0.85 - SHARED.high > 0.049
    assert 0.95 - SHARED.inodes_high > 0.049
    assert SHARED.low < SHARED.high
    assert SHARED.inodes_low < SHARED.inodes_high


def test_what_holds_the_rest_is_said_by_reason() -> None:
    kept = [tree("a", hold="mounted", a=2 * GIB), tree("b", hold="mounted", b=GIB), tree("c", hold="pinned", c=GIB)]
    assert what_holds(kept) == "3.0 GiB mounted, 1.0 GiB pinned"
    assert what_holds([]) == ""
