"""Many groups planned over the same nodes: no node is promised twice, and no plan moves because others are made."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api import keys
from controller.cluster.roster import Enrolment, Roster
from controller.cluster.snapshots import Snapshots
from controller.cluster.world import World
from controller.config import HoldLimits
from controller.gate.decide import Decision, adopt, decide
from controller.gate.gather import group_facts
from controller.groups import GroupMember, Owner
from controller.planning.planner import Plan

GPU = "nvidia.com/gpu"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEVELS = ("zone", "rack")
TOP = Owner(api_version="apps/v1", kind="StatefulSet", name="all", uid="all")


@dataclass(frozen=True)
class Group:
    size: int
    gpus: int  # of each pod
    topology_key: str = ""
    exclusive: bool = False
    spread: str = ""  # a label, in the pods' annotation
    within: str = ""  # a label: all such groups are parts of one whole that stays within a domain of it


NODES = st.lists(st.tuples(st.integers(0, 8), st.sampled_from("ab"), st.sampled_from("123")), min_size=1, max_size=8)
GROUPS = st.lists(
    st.builds(Group, st.integers(1, 4), st.integers(1, 8), st.sampled_from(["", "", "rack"]), st.booleans()),
    min_size=1,
    max_size=6,
)


class Cluster:
    """``nodes``: GPUs, zone and rack of each; every fourth has no agent."""

    def __init__(self, nodes: list[tuple[int, str, str]], groups: list[Group]) -> None:
        self.world, self.roster = World(), Roster()
        for number, (gpus, zone, rack) in enumerate(nodes):
            self.world.on_node(("", f"n{number}"), node(f"n{number}", gpus=gpus, zone=zone, rack=zone + rack))
            if number % 4:
                self.world.on_cache(("", f"n{number}"), cache(f"n{number}"))
        self.world.on_model(("team", "llama"), model())
        self.members = {}
        for number, group in enumerate(groups):
            member = GroupMember(
                system="lws",
                namespace="team",
                key=f"g{number}",
                name=f"g{number}-0",
                size=group.size,
                topology_key=group.topology_key,
                exclusive=bool(group.topology_key) and group.exclusive,
                within=(("whole", group.within),) if group.within else (),
            )
            self.members[f"g{number}-0"] = member
            self.world.on_pod(("team", member.name), None, pod(member.name, gpus=group.gpus, spread=group.spread))
        self.forget()

    def forget(self) -> None:
        """As a restarted controller: only NodeCaches tell which nodes each group has."""
        held = {member.id: self.roster.plan(member.id).all_nodes for member in self.members.values()}
        self.roster = Roster()
        self.snapshots = Snapshots(self.world, self.roster, levels=LEVELS)
        for name, member in self.members.items():
            self.roster.enrol(("team", name), Enrolment(member=member, chain=(), top=TOP))
            self.roster.set_plan(member.id, Plan(nodes=tuple(sorted(held[member.id]))))

    def adopt(self) -> None:
        for group in self.roster.groups():
            facts = group_facts(self.snapshots, group, limits=HoldLimits(60), only_held=True)
            assert facts is not None
            self.roster.set_plan(group, adopt(facts))

    def decide(self, group: str) -> Decision:
        facts = group_facts(self.snapshots, group, limits=HoldLimits(60))
        assert facts is not None
        decision = decide(facts, now=NOW)
        self.roster.set_plan(group, decision.plan)
        return decision

    def nodes_of_groups(self) -> dict[str, set[str]]:
        return {group: set(self.roster.plan(group).all_nodes) for group in self.roster.groups()}


@settings(max_examples=200)
@given(NODES, GROUPS)
def test_no_node_is_promised_more_than_it_has(nodes: list[tuple[int, str, str]], groups: list[Group]) -> None:
    cluster = Cluster(nodes, groups)
    decisions = {group: cluster.decide(group) for group in cluster.roster.groups()}
    for name, view in cluster.world.nodes.items():
        promised = cluster.roster.reserved(name, besides="")
        assert all(amount <= view.allocatable.get(resource, 0) for resource, amount in promised.items())
    for member in cluster.members.values():
        plan = decisions[member.id].plan
        if member.topology_key and plan.nodes:
            assert {cluster.world.nodes[n].labels[member.topology_key] for n in plan.all_nodes} == {plan.domain}


@settings(max_examples=200)
@given(NODES, GROUPS, st.randoms(use_true_random=False))
def test_plans_stay_when_all_groups_are_looked_at_again_in_any_order(
    nodes: list[tuple[int, str, str]], groups: list[Group], rng: random.Random
) -> None:
    cluster = Cluster(nodes, groups)
    first = {group: cluster.decide(group) for group in cluster.roster.groups()}
    before = cluster.nodes_of_groups()
    again = list(first)
    rng.shuffle(again)
    for group in again:
        cluster.decide(group)
    after = cluster.nodes_of_groups()
    placed = [group for group in first if first[group].plan.fits and first[group].reason == "Warming"]
    assert {group: after[group] for group in placed} == {group: before[group] for group in placed}


@settings(max_examples=200)
@given(NODES, GROUPS)
def test_a_restarted_controller_keeps_every_promise(nodes: list[tuple[int, str, str]], groups: list[Group]) -> None:
    cluster = Cluster(nodes, groups)
    for group in cluster.roster.groups():
        cluster.decide(group)
    before = cluster.nodes_of_groups(), {n: cluster.roster.reserved(n, besides="") for n in cluster.world.nodes}
    cluster.forget()
    cluster.adopt()
    assert (
        cluster.nodes_of_groups(),
        {n: cluster.roster.reserved(n, besides="") for n in cluster.world.nodes},
    ) == before


ZONE_A = [(0, "a", "1"), (8, "a", "1"), (8, "a", "2"), (8, "a", "2")]  # no agent on every fourth
ZONE_B = [(0, "b", "1"), (8, "b", "1"), (8, "b", "1"), (8, "b", "2"), (0, "b", "2"), (8, "b", "2")]


def zones(cluster: Cluster) -> set[str]:
    names = set().union(*cluster.nodes_of_groups().values())
    return {cluster.world.nodes[name].labels["zone"] for name in names}


def test_parts_of_a_whole_get_a_domain_that_holds_them_all_though_another_would_hold_the_first_better() -> None:
    pair = Group(2, 8, topology_key="rack", within="zone")
    cluster = Cluster([*ZONE_A, *ZONE_B], [pair, pair])
    assert [cluster.decide(group).reason for group in cluster.roster.groups()] == ["Warming", "Warming"]
    assert zones(cluster) == {"b"}


def test_a_part_that_comes_later_follows_the_others_into_their_domain() -> None:
    one = Group(1, 8, within="zone")
    cluster = Cluster([*ZONE_A, *ZONE_B], [one, one, one])
    first, *later = cluster.roster.groups()
    cluster.roster.set_plan(first, Plan(nodes=("n5",)))
    for group in later:
        cluster.decide(group)
    assert zones(cluster) == {"b"}


def test_parts_move_while_they_are_held_for_one_that_their_domain_has_no_room_for() -> None:
    """Parts come one after the other, and the first was planned where it alone fits."""
    pair = Group(2, 8, within="zone")
    cluster = Cluster([*ZONE_A, *ZONE_B], [pair, pair])
    first, second = cluster.roster.groups()
    cluster.roster.set_plan(first, Plan(nodes=("n1", "n2"), reserved={"n1": {GPU: 8}, "n2": {GPU: 8}}))
    assert [cluster.decide(group).reason for group in (second, first)] == ["Warming", "Warming"]
    assert zones(cluster) == {"b"}
    before = cluster.nodes_of_groups()
    for group in (second, first):
        cluster.decide(group)
    assert cluster.nodes_of_groups() == before


def test_parts_that_run_stay_where_they_are_though_another_finds_no_room_there() -> None:
    cluster = Cluster([*ZONE_A, *ZONE_B], [Group(1, 8, within="zone"), Group(3, 8, within="zone")])
    first, second = cluster.roster.groups()
    running = pod("g0-0", gpus=8, spread="")
    running["spec"] |= {"schedulingGates": [], "nodeName": "n1"}
    cluster.world.on_pod(("team", "g0-0"), None, running)
    assert cluster.decide(first).reason == "Released"
    assert cluster.decide(second).reason == "NoDomainFits"


def test_groups_of_a_workload_that_asks_are_spread_and_stay_where_they_are() -> None:
    groups = [Group(1, 8, spread="zone")] * 4
    cluster = Cluster([*ZONE_A, *ZONE_B], groups)
    for group in cluster.roster.groups():
        cluster.decide(group)
    before = cluster.nodes_of_groups()
    found = [cluster.world.nodes[name].labels["zone"] for names in before.values() for name in names]
    assert sorted(found) == ["a", "a", "b", "b"]
    for group in cluster.roster.groups():
        cluster.decide(group)
    assert cluster.nodes_of_groups() == before


def test_a_whole_that_no_domain_holds_goes_to_the_scheduler() -> None:
    cluster = Cluster(ZONE_A, [Group(2, 8, within="rack"), Group(2, 8, within="rack")])
    decisions = [cluster.decide(group) for group in cluster.roster.groups()]
    assert [decision.reason for decision in decisions] == ["NoDomainFits", "NoDomainFits"]


def node(name: str, *, gpus: int, zone: str, rack: str) -> dict[str, Any]:
    labels = {"zone": zone, "rack": rack, "kubernetes.io/hostname": name}
    status = {"allocatable": {GPU: str(gpus), "pods": "20"}, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name, "uid": name, "labels": labels}, "status": status}


def cache(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"nodeUID": name}}


def model() -> dict[str, Any]:
    return {
        "metadata": {"namespace": "team", "name": "llama", "generation": 1},
        "spec": {"source": "oci://registry.example.com/models/llama:v1"},
        "status": {"observedGeneration": 1, "revision": "r", "bytes": 100},
    }


def pod(name: str, *, gpus: int, spread: str) -> dict[str, Any]:
    attributes = {keys.ATTRIBUTE_MODEL: "team/llama", keys.ATTRIBUTE_REVISION: "r"}
    meta = {"namespace": "team", "name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {
        "metadata": {**meta, "annotations": {keys.SPREAD: spread} if spread else {}},
        "spec": {
            "schedulingGates": [{"name": keys.GATE}],
            "containers": [{"name": "engine", "resources": {"requests": {GPU: str(gpus)}}}],
            "volumes": [{"name": "w", "csi": {"driver": keys.CSI_DRIVER, "volumeAttributes": attributes}}],
        },
    }
