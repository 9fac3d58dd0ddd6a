"""Seats by what is pulled, kept by single changes of NodeCaches, equal those read from all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.cohort import Seat
from controller.cluster.world import World

CONTENTS = [(model * 32, "r") for model in "ab"]
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(CONTENTS),
        st.sampled_from(["", "0" * 16 + "/0/2", "1" * 16 + "/1/2", "1" * 16 + "/-/2"]),
        st.sampled_from(["Present", "Present", "Absent"]),
    ),
    max_size=2,
    unique_by=lambda entry: entry[0],
)
CHANGES = st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.none() | ENTRIES), max_size=12)


def cache(name: str, entries: list[tuple[tuple[str, str], str, str]]) -> dict[str, Any]:
    models = [
        {"model": content[0], "revision": content[1], "cohort": cohort, "desired": desired}
        for content, cohort, desired in entries
    ]
    return {"metadata": {"name": name}, "spec": {"models": models}}


@given(CHANGES)
def test_the_index_follows_every_node_cache(
    changes: list[tuple[str, list[tuple[tuple[str, str], str, str]] | None]],
) -> None:
    world = World()
    for name, entries in changes:
        world.on_cache(("", name), None if entries is None else cache(name, entries))
    for content in CONTENTS:
        expected = {
            name: Seat.parse(entry.cohort)
            for name, known in world.caches.items()
            for entry in known.spec.models
            if (entry.model, entry.revision) == content and entry.desired == "Present" and entry.cohort
        }
        assert world.seats.of(content) == expected
