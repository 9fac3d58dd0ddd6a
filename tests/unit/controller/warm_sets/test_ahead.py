"""Groups that a workload has no pods for yet: how many are warmed, and where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from api import keys
from api.resources import WorkloadPlacement
from controller.groups import Owner
from controller.groups.member import Part
from controller.groups.templates import Expected
from controller.models.wanted import Wanted
from controller.objects.nodes import NodeView
from controller.planning.candidates import Candidate
from controller.warm_sets.ahead import Present, groups_ahead, is_stale, maker, plan_ahead, replaced_next, shares

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


def test_groups_of_another_kind_leave_what_the_first_has_taken() -> None:
    (first,) = plan_ahead(expected(), nodes(a=8, b=8), present=[], held=[()], levels=())
    (second,) = plan_ahead(expected(), nodes(a=8, b=8), present=[], held=[()], levels=(), taken=first.reserved)
    assert (first.nodes, second.nodes) == (("a",), ("b",))


def test_each_kind_has_ids_of_its_own_however_many_groups_the_others_have() -> None:
    prefill, decode = expected(kind="prefill"), expected(kind="decode")
    assert list(shares("abcdefg", [prefill, decode])) == [(prefill, "abc"), (decode, "def")]
    assert list(shares("abc", [])) == []


def test_of_several_kinds_none_is_kept_warm_beyond_what_the_workload_asks_for() -> None:
    assert groups_ahead(expected(kind="prefill", groups=2), [], keep_warm=4) == 2
    assert groups_ahead(expected(kind="decode", groups=0), [], keep_warm=4) == 4


def test_a_plan_keeps_its_nodes() -> None:
    (plan,) = plan_ahead(expected(), nodes(a=8, b=8), present=[], held=[("b",)], levels=())
    assert plan.nodes == ("b",)


def test_groups_ahead_are_spread_where_the_template_asks_for_it() -> None:
    (part,) = expected().parts
    wish = Expected((replace(part, template={**part.template, "metadata": {"annotations": {keys.SPREAD: "zone"}}}),), 3)
    zones = {
        name: replace(candidate, node=replace(candidate.node, labels={"zone": name[0]}))
        for name, candidate in nodes(a1=8, a2=8, b1=8, b2=8).items()
    }
    present = group("g-0", on="a1"), group("g-1", on="a2")
    assert planned(expected(), zones, *present, count=2) == [("a1",), ("a2",)]
    assert planned(wish, zones, *present, count=2) == [("b1",), ("b2",)]


TOP = WorkloadPlacement(api_version="serving.kserve.io/v1beta1", kind="InferenceService", name="chat")


def owner(api_version: str, kind: str, name: str) -> Owner:
    return Owner(api_version=api_version, kind=kind, name=name, uid=name)


def test_the_template_is_the_outermost_owners_that_has_one() -> None:
    deployment = owner("apps/v1", "Deployment", "chat-predictor")
    chain = [owner("apps/v1", "ReplicaSet", "rs"), deployment, owner(TOP.api_version, TOP.kind, "chat")]
    found = maker(TOP, [chain, chain])
    assert found == WorkloadPlacement(api_version="apps/v1", kind="Deployment", name="chat-predictor")


def test_groups_of_several_templates_have_none_in_common_and_without_groups_the_workload_is_asked() -> None:
    roles = [owner("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", name) for name in ("prefill", "decode")]
    assert maker(TOP, [[role] for role in roles]) is None
    assert maker(TOP, [[owner("v1", "Pod", "p")]]) is None
    assert maker(TOP, []) == TOP


def test_a_group_is_stale_when_its_pods_mount_something_else_than_the_template_asks_for() -> None:
    old, new = Wanted("team/llama", "r1"), Wanted("team/llama", "r2")
    draft = Wanted("team/draft", "r1")
    assert is_stale([old], [new], expected())
    assert is_stale([new], [new, draft], expected())
    assert not is_stale([new], [new], expected())


def test_of_a_workload_with_several_parts_a_group_may_have_just_one_parts_models() -> None:
    parts = tuple(Part(role, 1, {"spec": {"containers": []}}) for role in ("head", "worker"))
    both = Expected(parts, groups=1)
    here, there = Wanted("team/llama", "r"), Wanted("team/draft", "r")
    assert not is_stale([here], [here, there], both)
    assert is_stale([Wanted("team/llama", "older")], [here, there], both)
