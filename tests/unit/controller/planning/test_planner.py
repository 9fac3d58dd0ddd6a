"""The planner: fewest missing bytes among the nodes that fit, and a reason for every node that does not."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.objects.nodes import NodeView
from controller.planning.candidates import Candidate, Demand
from controller.planning.fitting import PodShape
from controller.planning.planner import Planner, plan

GPU = "nvidia.com/gpu"
POD = PodShape(requests={GPU: 8, "pods": 1})


def candidate(name: str, *, gpus: int = 8, missing: int = 0, rack: str = "r1", **changes: Any) -> Candidate:
    node = NodeView(name=name, uid=f"uid-{name}", labels={"rack": rack})
    return replace(Candidate(node=node, free={GPU: gpus, "pods": 100}, missing_bytes=missing), **changes)


def test_nodes_with_the_fewest_missing_bytes_are_chosen() -> None:
    nodes = [candidate("a", missing=9), candidate("b", missing=0), candidate("c", missing=5)]
    assert plan(Demand(pods=(POD, POD)), nodes).nodes == ("b", "c")


def test_pods_are_packed_by_what_they_request() -> None:
    small = PodShape(requests={GPU: 4, "pods": 1})
    assert plan(Demand(pods=(small, small)), [candidate("a"), candidate("b")]).nodes == ("a",)


def test_pods_that_keep_their_like_away_take_a_node_each() -> None:
    small = PodShape(requests={GPU: 1}, one_per_node=True)
    assert plan(Demand(pods=(small, small)), [candidate("a"), candidate("b")]).nodes == ("a", "b")


def test_a_plan_keeps_the_nodes_it_holds() -> None:
    nodes = [candidate("a", missing=0), candidate("b", missing=7, held=True)]
    assert plan(Demand(pods=(POD,)), nodes).nodes == ("b",)


def test_a_held_node_that_is_no_longer_fit_is_replaced() -> None:
    gone = candidate("b", held=True)
    nodes = [
        candidate("a", held=True),
        replace(gone, node=replace(gone.node, ready=False)),
        candidate("c"),
        candidate("d"),
    ]
    chosen = plan(Demand(pods=(POD, POD)), nodes)
    assert chosen.nodes == ("a", "c")
    rejections, _ = Planner(nodes).explain(Demand(pods=(POD, POD)))
    assert [(r.node, r.reason) for r in rejections] == [("b", "NodeNotReady")]


def test_when_nothing_fits_every_node_is_rejected_with_a_reason() -> None:
    chosen = plan(Demand(pods=(POD,)), [candidate("a", gpus=4), candidate("b", unusable=("NoAgent", "no agent"))])
    assert (chosen.reason, chosen.nodes) == ("NoDomainFits", ())
    assert chosen.why.startswith("1 nodes InsufficientResources (such as a: ")
    assert "1 nodes NoAgent (such as b: " in chosen.why


def test_nodes_that_are_too_few_are_counted_too() -> None:
    assert plan(Demand(pods=(POD, POD)), [candidate("a")]).why.startswith("1 nodes could take some of the pods")
    assert plan(Demand(pods=(POD,)), []).why == "the cluster has no nodes"


def test_why_a_group_waits_is_told_anew_when_a_node_changes() -> None:
    planner = Planner([candidate("a", gpus=4)])
    demand = Demand(pods=(POD,))
    assert "InsufficientResources" in planner.plan(demand).why
    planner.update({"a": candidate("a", unusable=("NoAgent", "no agent"))})
    assert "NoAgent" in planner.plan(demand).why


def test_a_group_that_asked_for_a_domain_stays_in_one() -> None:
    nodes = [candidate("a", rack="r1"), candidate("b", rack="r2", missing=5), candidate("c", rack="r2", missing=5)]
    chosen = plan(Demand(pods=(POD, POD), topology_key="rack"), nodes)
    assert (chosen.domain, chosen.nodes) == ("r2", ("b", "c"))


def test_a_group_that_did_not_ask_may_cross_domains() -> None:
    nodes = [candidate("a", rack="r1"), candidate("b", rack="r2")]
    assert plan(Demand(pods=(POD, POD)), nodes).nodes == ("a", "b")


def test_the_domain_whose_slowest_node_lacks_least_is_chosen() -> None:
    nodes = [
        candidate("a", rack="r1", missing=0),
        candidate("b", rack="r1", missing=9),
        candidate("c", rack="r2", missing=5),
        candidate("d", rack="r2", missing=5),
    ]
    assert plan(Demand(pods=(POD, POD), topology_key="rack"), nodes).domain == "r2"


def test_the_tighter_of_two_equal_domains_is_chosen() -> None:
    nodes = [candidate("a", rack="r1"), candidate("b", rack="r1"), candidate("c", rack="r2")]
    assert plan(Demand(pods=(POD,), topology_key="rack"), nodes).domain == "r2"


def test_a_domain_without_discouraged_nodes_goes_before_a_held_one() -> None:
    nodes = [candidate("a", rack="r1", held=True, discouraged=True), candidate("b", rack="r2", missing=5)]
    assert plan(Demand(pods=(POD,), topology_key="rack"), nodes).domain == "r2"


def test_a_domain_that_another_group_has_is_not_taken() -> None:
    nodes = [candidate("a", rack="r1"), candidate("b", rack="r2", missing=5)]
    demand = Demand(pods=(POD,), topology_key="rack", taken_domains=frozenset({"r1"}))
    assert plan(demand, nodes).domain == "r2"


def test_a_group_with_a_running_member_stays_in_its_domain() -> None:
    nodes = [candidate("a", rack="r1"), candidate("b", rack="r2", missing=5)]
    assert plan(Demand(pods=(POD,), topology_key="rack", domain="r2"), nodes).nodes == ("b",)


def test_spare_nodes_come_on_top() -> None:
    chosen = plan(Demand(pods=(POD,), spare_nodes=1), [candidate(n) for n in "abc"])
    assert (chosen.nodes, chosen.spares) == (("a",), ("b",))


def test_a_pod_that_fits_few_nodes_is_placed_before_one_that_fits_many() -> None:
    picky = PodShape(requests={GPU: 8}, node_selector={"rack": "r1"})
    nodes = [candidate("a", rack="r1"), candidate("b", rack="r2")]
    assert plan(Demand(pods=(POD, picky)), nodes).nodes == ("a", "b")


NODES = st.builds(
    lambda i, gpus, missing, rack, held: candidate(f"n{i}", gpus=gpus, missing=missing, rack=rack, held=held),
    st.integers(0, 99),
    st.integers(0, 8),
    st.integers(0, 3),
    st.sampled_from(["r1", "r2", "r3"]),
    st.booleans(),
)
PODS = st.lists(st.builds(lambda n: PodShape(requests={GPU: n, "pods": 1}), st.integers(1, 8)), min_size=1, max_size=6)
CLUSTERS = st.lists(NODES, max_size=12, unique_by=lambda c: c.node.name)


@settings(max_examples=200)
@given(PODS, CLUSTERS, st.sampled_from(["", "rack"]), st.integers(0, 2), st.randoms(use_true_random=False))
def test_a_plan_is_deterministic_and_holds_the_group(
    pods: list[PodShape], nodes: list[Candidate], topology_key: str, spare: int, rng: random.Random
) -> None:
    demand = Demand(pods=tuple(pods), topology_key=topology_key, spare_nodes=spare)
    chosen = plan(demand, nodes)
    shuffled = nodes[:]
    rng.shuffle(shuffled)
    assert plan(demand, shuffled) == chosen
    if not chosen.fits:
        assert not chosen.nodes
        return
    by_name = {c.node.name: c for c in nodes}
    assert sum(by_name[n].free[GPU] for n in chosen.nodes) >= sum(p.requests[GPU] for p in pods)
    assert len(set(chosen.all_nodes)) == len(chosen.all_nodes)
    if topology_key:
        assert {by_name[n].node.labels["rack"] for n in chosen.all_nodes} == {chosen.domain}


@settings(max_examples=100)
@given(PODS, CLUSTERS)
def test_planning_again_from_its_own_result_changes_nothing(pods: list[PodShape], nodes: list[Candidate]) -> None:
    demand = Demand(pods=tuple(pods))
    first = plan(demand, [replace(c, held=False) for c in nodes])
    again = plan(demand, [replace(c, held=c.node.name in first.nodes) for c in nodes])
    assert set(again.nodes) == set(first.nodes)
