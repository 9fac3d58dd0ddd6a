"""When a group waits, is planned, and goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import keys
from api.resources import NodeModelStatus
from controller.gate.decide import GroupFacts, adopt, decide, suffices
from controller.groups import GroupMember
from controller.models.wanted import Problem, Wanted
from controller.node_caches.warmth import Warmth
from controller.objects.nodes import NodeView
from controller.planning.snapshot import NodeFacts, snapshot_of

GPU = "nvidia.com/gpu"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = Wanted("team/llama", "sha256:" + "a" * 64, bytes=100)
TREE, OTHER_TREE = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def pod(name: str, *, gated: bool = True, node: str = "", gates: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    names = (*gates, keys.GATE) if gated else gates
    requests = {"resources": {"requests": {GPU: "8"}}}
    meta = {"namespace": "team", "name": name, "uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    held = [{"name": gate} for gate in names]
    return {"metadata": meta, "spec": {"schedulingGates": held, "nodeName": node, "containers": [requests]} | spec}


def said(state: str, *, tree: str = TREE, reason: str = "") -> NodeModelStatus:
    tree = tree if state == "Ready" else ""
    return NodeModelStatus(model=MODEL.hash, revision=MODEL.revision, state=state, tree=tree, reason=reason)  # type: ignore[arg-type]


def node(
    name: str,
    state: str = "",
    *,
    agent: bool = True,
    gpus: int = 8,
    rack: str = "r1",
    tree: str = TREE,
    reason: str = "",
) -> NodeFacts:
    states = (said(state, tree=tree, reason=reason) if state else None,)
    done = MODEL.bytes if state == "Ready" else 0
    view = NodeView(name=name, uid=f"uid-{name}", labels={"kubernetes.io/hostname": f"host-{name}", "rack": rack})
    warmth = Warmth(node=name, has_agent=agent, states=states, bytes_total=MODEL.bytes, bytes_done=done)
    return NodeFacts(view=view, free={GPU: gpus, "pods": 10}, warmth=warmth)


def group(*pods: dict[str, Any], nodes: tuple[NodeFacts, ...], size: int = 2, **changes: Any) -> GroupFacts:
    member = GroupMember(system="lws", namespace="team", key="k", name="a", size=size)
    return replace(GroupFacts(member=member, pods=pods, nodes=snapshot_of(nodes), wanted=(MODEL,)), **changes)


TWO = (pod("a"), pod("a-1"))
BOTH_KEYS = (("team", "a"), ("team", "a-1"))


def test_a_group_is_held_while_one_of_its_nodes_is_cold() -> None:
    decision = decide(group(*TWO, nodes=(node("n1", "Ready"), node("n2", "Pulling"))), now=NOW)
    assert (decision.reason, decision.release, decision.plan.nodes) == ("Warming", (), ("n1", "n2"))


def test_all_pods_go_together_when_the_nodes_are_warm_and_prefer_them_by_hostname() -> None:
    decision = decide(group(*TWO, nodes=(node("n1", "Ready"), node("n2", "Ready"))), now=NOW)
    assert (decision.reason, decision.release) == ("Warm", BOTH_KEYS)
    assert decision.terms.hostnames == ("host-n1", "host-n2")
    assert decision.terms.domain is None
    assert decision.nominations == dict(zip(BOTH_KEYS, ("n1", "n2"), strict=True))


def test_warm_nodes_with_different_trees_are_not_one_group() -> None:
    nodes = (node("n1", "Ready"), node("n2", "Ready", tree=OTHER_TREE))
    assert decide(group(*TWO, nodes=nodes), now=NOW).release == ()


def test_the_declared_size_is_planned_though_one_pod_exists() -> None:
    decision = decide(group(TWO[0], nodes=(node("n1", "Ready"), node("n2"))), now=NOW)
    assert (decision.plan.nodes, decision.release) == (("n1", "n2"), ())


def test_the_first_pod_goes_before_the_others_exist() -> None:
    decision = decide(group(TWO[0], nodes=(node("n1", "Ready"), node("n2", "Ready"))), now=NOW)
    assert decision.release == (("team", "a"),)


def test_a_member_that_comes_late_goes_on_arrival() -> None:
    free = pod("a", gated=False, node="n1")
    nodes = (node("n1", "Ready", gpus=0), node("n2", "Ready"))
    decision = decide(group(free, TWO[1], nodes=nodes, held=("n1", "n2")), now=NOW)
    assert (decision.reason, decision.release) == ("Released", (("team", "a-1"),))
    assert decision.terms.hostnames == ("host-n1", "host-n2")


def test_a_group_that_asked_for_a_domain_gets_it_required() -> None:
    facts = group(*TWO, nodes=(node("n1", "Ready"), node("n2", "Ready"), node("n3", rack="r2")))
    facts = replace(facts, member=replace(facts.member, topology_key="rack", exclusive=True))
    assert decide(facts, now=NOW).terms.domain == ("rack", "r1")


def test_where_another_scheduler_places_nothing_is_required() -> None:
    pods = tuple(pod(name, schedulerName="kai") for name in ("a", "a-1"))
    facts = group(*pods, nodes=(node("n1", "Ready"), node("n2", "Ready")))
    facts = replace(facts, member=replace(facts.member, topology_key="rack"))
    decision = decide(facts, now=NOW)
    assert (decision.reason, decision.terms.domain, decision.nominations) == ("Warm", None, {})


def test_a_late_member_follows_the_domain_of_the_leader() -> None:
    free = pod("a", gated=False, node="n3")
    nodes = (node("n1", "Ready"), node("n3", "Ready", gpus=0, rack="r2"), node("n4", rack="r2"))
    facts = group(free, TWO[1], nodes=nodes)
    facts = replace(facts, member=replace(facts.member, topology_key="rack"))
    assert decide(facts, now=NOW).terms.domain == ("rack", "r2")


def test_pods_that_no_nodes_can_run_go_at_once_without_terms() -> None:
    decision = decide(group(*TWO, nodes=(node("n1", gpus=4), node("n2"))), now=NOW)
    assert (decision.reason, decision.release, decision.terms.hostnames) == ("NoDomainFits", BOTH_KEYS, ())
    assert "n1" in decision.message


@pytest.mark.parametrize("broken", [node("n2", agent=False), node("n2", "Failed", reason="InsufficientCache")])
def test_a_group_waits_for_a_node_that_cannot_be_warmed_now_and_warms_the_others(broken: NodeFacts) -> None:
    decision = decide(group(*TWO, nodes=(node("n1"), broken)), now=NOW)
    assert (decision.reason, decision.release) == ("NoUsableNodes", ())
    assert set(decision.plan.nodes) == {"n1", "n2"}


def test_a_group_waits_for_the_room_of_pods_that_are_going() -> None:
    """A rollout in a full cluster: the old pods hold their GPUs until they have ended."""
    full = node("n2", "Ready", gpus=0)
    leaving = replace(full, leaving={GPU: 8, "pods": 1})
    assert decide(group(*TWO, nodes=(node("n1"), full)), now=NOW).reason == "NoDomainFits"
    decision = decide(group(*TWO, nodes=(node("n1"), leaving)), now=NOW)
    assert (decision.reason, decision.release) == ("NoUsableNodes", ())
    assert set(decision.plan.nodes) == {"n1", "n2"}


def test_a_node_whose_disk_fails_is_replaced_and_one_whose_source_fails_is_not() -> None:
    spare = node("n3")
    full = group(*TWO, nodes=(node("n1"), node("n2", "Failed", reason="InsufficientCache"), spare), held=("n1", "n2"))
    assert decide(full, now=NOW).plan.nodes == ("n1", "n3")
    gone = group(*TWO, nodes=(node("n1"), node("n2", "Failed", reason="NotFound"), spare), held=("n1", "n2"))
    assert decide(gone, now=NOW).plan.nodes == ("n1", "n2")


def test_an_unresolved_model_holds_the_group_and_keeps_its_nodes() -> None:
    facts = group(*TWO, nodes=(node("n1"),), problem=Problem("NotFound", "no such tag"), held=("n1",))
    decision = decide(facts, now=NOW)
    assert (decision.reason, decision.release, decision.plan.nodes) == ("NotFound", (), ("n1",))


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": (node("n1", "Pulling"), node("n2"))},
        {"nodes": (node("n1"), node("n2", agent=False))},
        {"nodes": (), "problem": Problem("NotFound", "no such tag")},
    ],
)
def test_when_the_clock_has_run_out_the_group_goes_without_terms(changes: dict[str, Any]) -> None:
    facts = group(*TWO, **({"nodes": ()} | changes), expires=NOW - timedelta(seconds=1))
    decision = decide(facts, now=NOW)
    assert (decision.reason, decision.release, decision.terms.hostnames) == ("HoldExpired", BOTH_KEYS, ())


def test_a_pod_that_somebody_else_holds_too_keeps_our_gate() -> None:
    pods = (pod("a", gates=("kueue",)), TWO[1])
    decision = decide(group(*pods, nodes=(node("n1", "Ready"), node("n2", "Ready"))), now=NOW)
    assert decision.release == (("team", "a-1"),)


def test_bound_members_define_the_plan_of_a_complete_group() -> None:
    pods = (pod("a", gated=False, node="n3"), pod("a-1", gated=False, node="n1"))
    facts = group(*pods, nodes=(node("n1"), node("n2"), node("n3")), held=("n1", "n2"))
    assert decide(facts, now=NOW).plan.nodes == ("n1", "n3")


def test_an_adopted_plan_knows_what_its_pods_will_take() -> None:
    facts = group(*TWO, nodes=(node("n1"), node("n2"), node("n3")), held=("n2", "n3"))
    adopted = adopt(facts)
    assert adopted.nodes == ("n2", "n3")
    assert {name: amounts[GPU] for name, amounts in adopted.reserved.items()} == {"n2": 8, "n3": 8}


def test_an_adopted_plan_that_no_longer_fits_keeps_its_nodes() -> None:
    facts = group(*TWO, nodes=(node("n1", gpus=0), node("n2")), held=("n1", "n2"))
    assert adopt(facts).nodes == ("n1", "n2")


STATES = st.sampled_from(["", "Queued", "Pulling", "Ready"])
NODES = st.lists(st.tuples(STATES, st.integers(0, 8), st.booleans()), min_size=1, max_size=6)


@given(NODES, st.integers(1, 3))
def test_looking_at_the_held_nodes_alone_decides_the_same_where_they_suffice(
    drawn: list[tuple[str, int, bool]], size: int
) -> None:
    nodes = tuple(node(f"n{i}", state, gpus=gpus) for i, (state, gpus, _) in enumerate(drawn))
    held = tuple(f"n{i}" for i, (_, _, kept) in enumerate(drawn) if kept)
    whole = group(TWO[0], nodes=nodes, size=size, held=held)
    part = replace(whole, nodes=snapshot_of(n for n in nodes if n.view.name in held))
    if suffices(part):
        one, other = decide(part, now=NOW), decide(whole, now=NOW)
        assert (one.plan.nodes, one.release, one.terms) == (other.plan.nodes, other.release, other.terms)


@given(NODES, st.integers(1, 3), st.booleans())
def test_nothing_goes_before_enough_nodes_are_warm_unless_it_says_why(
    drawn: list[tuple[str, int, bool]], size: int, late: bool
) -> None:
    nodes = tuple(
        node(f"n{i}", state, gpus=8 * (gpus % 2), tree=TREE if kept else OTHER_TREE)
        for i, (state, gpus, kept) in enumerate(drawn)
    )
    pods = tuple(pod("a" if i == 0 else f"a-{i}") for i in range(size))
    expires = NOW - timedelta(seconds=1) if late else None
    decision = decide(group(*pods, nodes=nodes, size=size, expires=expires), now=NOW)
    room = [n for n in nodes if n.free[GPU] >= 8]
    if decision.reason == "Warm":
        warm = [n for n in room if n.view.hostname in decision.terms.hostnames]
        assert len(warm) >= size
        assert len({n.warmth.trees for n in warm}) == 1
        assert all(n.warmth.ready for n in warm)
    elif decision.release:
        assert decision.terms.hostnames == ()
        assert decision.reason == ("NoDomainFits" if len(room) < size else "HoldExpired")
