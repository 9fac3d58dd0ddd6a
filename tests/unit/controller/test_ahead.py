"""Groups that a workload has no pods for yet: how many are warmed, and where."""

from __future__ import annotations

from typing import Any

from controller.ahead import Present, groups_ahead, plan_ahead, replaced_next
from controller.candidates import Candidate
from controller.groups.member import Part
from controller.nodes import NodeView
from controller.templates import Expected

GPU = "nvidia.com/gpu"


def expected(**more: Any) -> Expected:
    container = {"name": "e", "resources": {"requests": {GPU: "8"}}}
    return Expected((Part("all", 1, {"spec": {"containers": [container]}}),), **{"groups": 1, **more})


def group(name: str, *, stale: bool = False, on: str = "") -> Present:
    return Present(name, stale, {on: {GPU: 8, "pods": 1}} if on else {})


def nodes(**free: int) -> dict[str, Candidate]:
    return {
        name: Candidate(NodeView(name, name, allocatable={GPU: 8}), free={GPU: amount, "pods": 10}, missing_bytes=9)
        for name, amount in free.items()
    }


def planned(wanted: Expected, candidates: dict[str, Candidate], *present: Present, count: int = 1) -> list[Any]:
    held: list[tuple[str, ...]] = [()] * count
    return [p.nodes for p in plan_ahead(wanted, candidates, present=present, held=held, levels=())]


def test_scaled_to_zero_as_many_are_kept_as_the_owner_or_the_warm_set_says() -> None:
    assert groups_ahead(expected(keep_warm=2), [], keep_warm=0) == 2
    assert groups_ahead(expected(), [], keep_warm=3) == 3
    assert groups_ahead(expected(keep_warm=2), [group("a"), group("b")], keep_warm=0) == 0


def test_a_suspended_workload_is_warmed_before_it_may_run() -> None:
    assert groups_ahead(expected(suspended=True), [], keep_warm=0) == 1


def test_of_a_rollout_the_next_two_successors_are_warmed() -> None:
    stale = [group(f"g-{index}", stale=True) for index in range(5)]
    assert groups_ahead(expected(groups=5), stale, keep_warm=0) == 2
    assert groups_ahead(expected(groups=5), [*stale[:1], group("g-4")], keep_warm=0) == 1


def test_a_rollout_begins_with_the_highest_ordinal() -> None:
    present = [group("g-9", stale=True), group("g-10", stale=True), group("g-11")]
    assert [one.name for one in replaced_next(present)] == ["g-10", "g-9"]


def test_a_successor_takes_free_nodes_and_two_do_not_share() -> None:
    assert planned(expected(), nodes(a=8, b=8, c=0), count=2) == [("a",), ("b",)]


def test_where_no_room_is_free_it_takes_the_room_of_the_group_it_replaces() -> None:
    stale = [group("g-0", stale=True, on="a"), group("g-1", stale=True, on="b")]
    assert planned(expected(), nodes(a=0, b=0), *stale, count=2) == [("b",), ("a",)]


def test_in_place_it_takes_that_room_even_where_other_nodes_are_free() -> None:
    stale = group("g-0", stale=True, on="b")
    assert planned(expected(in_place=True), nodes(a=8, b=0), stale) == [("b",)]
    assert planned(expected(in_place=False), nodes(a=8, b=0), stale) == [("a",)]


def test_nothing_is_reserved_so_that_pods_that_exist_go_first() -> None:
    (plan,) = plan_ahead(expected(), nodes(a=8), present=[], held=[()], levels=())
    assert plan.reserved == {}


def test_a_plan_keeps_its_nodes() -> None:
    (plan,) = plan_ahead(expected(), nodes(a=8, b=8), present=[], held=[("b",)], levels=())
    assert plan.nodes == ("b",)
