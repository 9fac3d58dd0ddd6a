"""Parts of a whole go together, and wait for no part that does not exist."""

from __future__ import annotations

import pytest

from controller.gate.composites import PARTS_WARMING, is_settled, together
from controller.gate.decide import Decision
from tests.support.workloads import load

WARM = Decision("Warm", "", release=(("team", "a"),), nominations={("team", "a"): "n1"})


@pytest.mark.parametrize("reason", ["Warm", PARTS_WARMING, "Released", "HoldExpired", "NoDomainFits"])
def test_a_warm_part_goes_when_no_other_keeps_it_waiting(reason: str) -> None:
    assert together(WARM, [Decision(reason, "")]) == WARM


@pytest.mark.parametrize("other", [None, Decision("Warming", ""), Decision("ModelNotFound", "")])
def test_a_warm_part_waits_for_one_that_is_not_and_keeps_its_plan(other: Decision | None) -> None:
    found = together(WARM, [Decision("Warm", ""), other])
    assert (found.reason, found.release, found.nominations, found.plan) == (PARTS_WARMING, (), {}, WARM.plan)
    assert is_settled(found)  # so that two warm parts do not wait for each other


def test_a_part_without_others_waits_for_none() -> None:
    assert together(WARM, []) == WARM


@pytest.mark.parametrize("reason", ["Released", "HoldExpired", "NoDomainFits", "Warming"])
def test_only_a_warm_part_waits(reason: str) -> None:
    decision = Decision(reason, "", release=(("team", "late"),))
    assert together(decision, [None]) == decision


def test_sub_groups_of_a_replica_are_parts_of_one_whole() -> None:
    workloads = load("lws-subgroups")
    one, other = workloads.member("sub-0-1"), workloads.member("sub-0-5")
    assert one.id != other.id
    assert one.whole == other.whole != ""
    assert load("lws").member("vllm-0").whole == ""


def test_gangs_below_one_composite_are_parts_of_one_whole() -> None:
    workloads = load("podgroup")
    assert workloads.member("llm-0").whole == ""
    workloads.objects["podgroup"]["spec"]["compositesAbove"] = [{"name": "service"}]
    assert workloads.member("llm-0").whole == workloads.member("llm-1").whole == "podgroup/team/service"


def test_a_composites_level_is_shared_and_stands_in_for_one_that_the_gang_has_not() -> None:
    workloads = load("podgroup")
    spec = workloads.objects["podgroup"]["spec"]
    block = {"schedulingConstraints": {"topology": [{"key": "block"}]}}
    spec["compositesAbove"] = [{"name": "replica"}, {"name": "service", **block}]
    member = workloads.member("llm-0")
    assert (member.topology_key, member.within) == ("rack", (("podgroup/team/service", "block"),))
    del spec["schedulingConstraints"]
    assert workloads.member("llm-0").topology_key == "block"
