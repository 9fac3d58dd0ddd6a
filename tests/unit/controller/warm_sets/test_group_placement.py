"""Groups that a WarmSet keeps warm: each on nodes of its own, spread over domains where it says so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.resources import GroupPlacement
from controller.node_caches.warmth import Warmth
from controller.objects.nodes import NodeView
from controller.planning.planner import Plan
from controller.planning.snapshot import NodeFacts, Snapshot, snapshot_of
from controller.warm_sets.group_placement import plan_groups


def nodes(*names: str, missing: dict[str, int] | None = None) -> Snapshot:
    """``a1x`` lies in zone a, rack a1."""
    found = []
    for name in names:
        labels = {"zone": name[:1], "rack": name[:2]}
        lacks = (missing or {}).get(name, 0)
        warmth = Warmth(name, has_agent=True, states=(), bytes_total=9, bytes_done=9 - lacks)
        found.append(NodeFacts(view=NodeView(name=name, uid=name, labels=labels), free={}, warmth=warmth))
    return snapshot_of(found)


def plans(
    where: Snapshot, *, count: int, held: dict[str, tuple[str, ...]] | None = None, levels: Any = (), **placement: Any
) -> list[Plan]:
    groups = {f"g{i}": (held or {}).get(f"g{i}", ()) for i in range(count)}
    size = placement.pop("size", 1)
    return list(
        plan_groups(GroupPlacement(count=count, size=size, **placement), where, held=groups, levels=levels).values()
    )


def zones(found: list[Plan]) -> list[str]:
    return [name[:1] for plan in found for name in plan.nodes]


def test_no_two_groups_share_a_node() -> None:
    found = plans(nodes("a1x", "a1y", "a1z"), count=3, spare=1)
    assert [plan.all_nodes for plan in found] == [("a1x", "a1y"), ("a1z",), ()]
    assert "InOtherGroup" in found[2].why


def test_a_node_that_two_groups_hold_goes_to_one() -> None:
    found = plans(nodes("a1x", "a1y"), count=2, held={"g0": ("a1x",), "g1": ("a1x",)})
    assert sorted(name for plan in found for name in plan.nodes) == ["a1x", "a1y"]


def test_groups_go_near_each_other_unless_they_are_to_be_spread() -> None:
    where = nodes("a1x", "a1y", "b1x", "b1y", "b1z")
    assert zones(plans(where, count=2)) == ["a", "a"]
    assert zones(plans(where, count=2, spread_key="zone")) == ["a", "b"]


@pytest.mark.parametrize("levels", [(), ("rack",), ("zone", "rack")])
def test_spreading_works_whatever_the_topology_levels_are(levels: tuple[str, ...]) -> None:
    where = nodes("a1x", "a1y", "a2x", "a2y", "b1x", "b1y", "b2x", "b2y")
    found = plans(where, count=4, size=2, levels=levels, spread_key="zone")
    assert [sorted({name[:1] for name in plan.nodes}) for plan in found] == [["a"], ["b"], ["a"], ["b"]]


def test_a_group_stays_within_its_own_level_while_it_is_spread_over_another() -> None:
    where = nodes("a1x", "a1y", "a2x", "b1x", "b2x", "b2y")
    found = plans(where, count=2, size=2, topology_key="rack", spread_key="zone")
    assert [plan.domain for plan in found] == ["a1", "b2"]


def test_spreading_is_a_wish_a_group_without_room_there_is_placed_anyway() -> None:
    assert zones(plans(nodes("a1x", "a1y", "a1z", "b1x"), count=3, spread_key="zone")) == ["b", "a", "a"]


def test_spreading_goes_before_bytes_and_never_moves_a_group_that_has_its_nodes() -> None:
    where = nodes("a1x", "a1y", "b1x", missing={"b1x": 9})
    assert zones(plans(where, count=2, spread_key="zone")) == ["a", "b"]
    held = {"g0": ("a1x",), "g1": ("a1y",)}
    assert zones(plans(where, count=2, held=held, spread_key="zone")) == ["a", "a"]


@given(st.integers(1, 9), st.integers(1, 4))
def test_domains_with_room_differ_by_one_group_at_most(count: int, domains: int) -> None:
    where = nodes(*(f"{zone}1{number}" for zone in "abcd"[:domains] for number in range(9)))
    crowds = Counter(zones(plans(where, count=count, spread_key="zone")))
    assert max(crowds.values()) - min(crowds.get(zone, 0) for zone in "abcd"[:domains]) <= 1
