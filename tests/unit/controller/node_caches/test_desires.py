"""What a NodeCache says: all desires merged, and nothing removed that nobody asked to remove."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from api.resources import NodeModelStatus
from controller.models.wanted import Wanted
from controller.node_caches.desires import Desire, groups_held, merge

REVISION, OLDER = "sha256:" + "a" * 64, "sha256:" + "c" * 64
LLAMA, DRAFT = Wanted("team/llama", REVISION), Wanted("team/draft", REVISION)


def reported(wanted: Wanted, revision: str = REVISION) -> NodeModelStatus:
    return NodeModelStatus(model=wanted.hash, revision=revision, state="Ready")


def test_one_entry_for_a_model_that_several_want() -> None:
    (entry,) = merge(
        [Desire(LLAMA, group="b"), Desire(LLAMA, group="a", priority=5), Desire(LLAMA, pinned=True)]
    ).models
    assert (entry.model, entry.revision) == (LLAMA.hash, REVISION)
    assert (entry.groups, entry.priority, entry.pinned) == (["a", "b"], 5, True)


def test_two_revisions_of_a_model_stand_side_by_side() -> None:
    spec = merge([Desire(LLAMA), Desire(Wanted("team/llama", OLDER))])
    assert sorted(entry.revision for entry in spec.models) == sorted([REVISION, OLDER])


def test_a_model_without_a_revision_is_not_asked_for_yet() -> None:
    assert merge([Desire(Wanted("team/llama", ""))]).models == []


def test_what_nobody_wants_is_left_out_and_not_removed() -> None:
    assert merge([], reported=[reported(LLAMA)]).models == []


def test_a_cooled_model_that_the_node_holds_gets_a_tombstone() -> None:
    (entry,) = merge([], reported=[reported(LLAMA), reported(DRAFT)], cooled=frozenset({LLAMA.hash})).models
    assert (entry.model, entry.desired) == (LLAMA.hash, "Absent")


def test_a_cooled_model_that_somebody_wants_stays() -> None:
    spec = merge([Desire(LLAMA)], reported=[reported(LLAMA), reported(LLAMA, OLDER)], cooled=frozenset({LLAMA.hash}))
    assert {(e.revision, e.desired) for e in spec.models} == {(REVISION, "Present"), (OLDER, "Absent")}


DESIRES = st.lists(
    st.builds(
        lambda name, group, priority: Desire(Wanted(f"t/{name}", REVISION), group=group, priority=priority),
        st.sampled_from("abc"),
        st.sampled_from(["", "g1", "g2"]),
        st.integers(-5, 5),
    ),
    max_size=12,
)


@given(DESIRES, st.randoms(use_true_random=False))
def test_equal_desires_give_equal_lists_and_lose_nobody(desires: list[Desire], rng: random.Random) -> None:
    spec = merge(desires)
    shuffled = desires[:]
    rng.shuffle(shuffled)
    assert merge(shuffled) == spec
    assert {entry.model for entry in spec.models} == {desire.wanted.hash for desire in desires}
    assert groups_held(spec) == {desire.group for desire in desires if desire.group}
