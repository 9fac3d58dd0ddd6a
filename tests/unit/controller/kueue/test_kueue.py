"""Where Kueue's topology-aware scheduling puts a group, as its Workloads say it (workload_types.go)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import keys
from api.resources import NodeModelStatus
from controller.gate.decide import Decision, GroupFacts, decide
from controller.groups import resolve
from controller.kueue.placed import Placed, placed
from controller.kueue.workload import Place, parse, workload_name
from controller.models.wanted import Wanted
from controller.node_caches.warmth import Warmth
from controller.objects.nodes import NodeView
from controller.planning.snapshot import NodeFacts, snapshot_of
from tests.support.workloads import load

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOST, BLOCK, RACK = "kubernetes.io/hostname", "cloud.provider.com/topology-block", "cloud.provider.com/topology-rack"
MODEL = Wanted("team/llama", "sha256:" + "a" * 64, bytes=100, tree="sha256:" + "1" * 64)


def workload(
    *assignments: dict[str, Any] | None, counts: tuple[int, ...] = (2,), name: str = "sample"
) -> dict[str, Any]:
    """One pod set for each assignment; the first has the name of the pods' label."""
    names = ["4ebdd4a6", "other"][: len(assignments)]
    sets = [{"name": n, "count": c, "template": {"spec": {}}} for n, c in zip(names, counts, strict=True)]
    admission = [
        {"name": n, "count": c} | ({"topologyAssignment": a} if a else {})
        for n, c, a in zip(names, counts, assignments, strict=True)
    ]
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {"namespace": "team", "name": name, "uid": "w"},
        "spec": {"podSets": sets},
        "status": {"admission": {"podSetAssignments": admission}},
    }


def hosts(*names: str) -> dict[str, Any]:
    values = [{"roots": list(names)}]
    return {"levels": [HOST], "slices": [{"domainCount": len(names), "valuesPerLevel": values, "universalPodCount": 1}]}


RACKS = [Place({BLOCK: "block-1", RACK: "rack-1"}, 4), Place({BLOCK: "block-1", RACK: "rack-2"}, 2)]
NODES = [Place({HOST: f"block-1-rack-{rack}-node-{n}"}, 1) for rack, n in ((1, 1), (1, 2), (2, 1))]


@pytest.mark.parametrize(
    ("levels", "slices", "expected"),
    [
        (
            [BLOCK, RACK],
            [
                {
                    "domainCount": 2,
                    "valuesPerLevel": [{"roots": ["block-1", "block-1"]}, {"roots": ["rack-1", "rack-2"]}],
                    "podCounts": [4, 2],
                }
            ],
            RACKS,
        ),
        (
            [BLOCK, RACK],
            [
                {
                    "domainCount": 2,
                    "valuesPerLevel": [{"universalValue": "block-1"}, {"prefix": "rack-", "roots": ["1", "2"]}],
                    "podCounts": [4, 2],
                }
            ],
            RACKS,
        ),
        (
            [HOST],
            [
                {
                    "domainCount": 2,
                    "valuesPerLevel": [{"prefix": "block-1-rack-1-node-", "roots": ["1", "2"]}],
                    "universalPodCount": 1,
                },
                {
                    "domainCount": 1,
                    "valuesPerLevel": [{"prefix": "block-1-", "suffix": "-1", "roots": ["rack-2-node"]}],
                    "universalPodCount": 1,
                },
            ],
            NODES,
        ),
    ],
)
def test_a_packed_assignment_names_every_place(levels: list[str], slices: list[Any], expected: list[Place]) -> None:
    (pod_set,) = parse(workload({"levels": levels, "slices": slices})).pod_sets
    assert list(pod_set.places or ()) == expected


def test_an_assignment_of_v1beta1_lists_its_domains_one_by_one() -> None:
    domains = [{"values": ["block-1", "rack-1"], "count": 4}, {"values": ["block-1", "rack-2"], "count": 2}]
    (pod_set,) = parse(workload({"levels": [BLOCK, RACK], "domains": domains})).pod_sets
    assert list(pod_set.places or ()) == RACKS


@given(
    st.lists(st.text(st.characters(codec="ascii"), max_size=4), min_size=1, max_size=9),
    st.text(st.characters(codec="ascii"), max_size=3),
    st.text(st.characters(codec="ascii"), max_size=3),
)
def test_prefix_and_suffix_are_put_back(roots: list[str], prefix: str, suffix: str) -> None:
    values = {"roots": roots} | ({"prefix": prefix} if prefix else {}) | ({"suffix": suffix} if suffix else {})
    part = {"domainCount": len(roots), "valuesPerLevel": [values], "universalPodCount": 3}
    (pod_set,) = parse(workload({"levels": [HOST], "slices": [part]})).pod_sets
    assert [place.labels[HOST] for place in pod_set.places or ()] == [f"{prefix}{root}{suffix}" for root in roots]


@pytest.mark.parametrize(
    "broken",
    [
        {"levels": [HOST], "slices": [{"domainCount": 1 << 40, "valuesPerLevel": [{"universalValue": "x"}]}]},
        {"levels": [HOST], "slices": [{"domainCount": 1, "valuesPerLevel": [{}], "universalPodCount": 1}]},
        {"slices": []},
        {"levels": [HOST, RACK], "slices": [{"domainCount": 1, "valuesPerLevel": [], "universalPodCount": 1}]},
    ],
)
def test_an_assignment_that_is_not_as_its_api_says_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises((ValueError, LookupError)):
        parse(workload(broken))


@pytest.mark.parametrize(
    ("labels", "annotations", "expected"),
    [
        ({"kueue.x-k8s.io/pod-group-name": "sample"}, {}, "sample"),
        ({"kueue.x-k8s.io/prebuilt-workload-name": "lws-1", "kueue.x-k8s.io/pod-group-name": "g"}, {}, "lws-1"),
        ({}, {"kueue.x-k8s.io/workload": "job-train-1f2e"}, "job-train-1f2e"),
        ({}, {"kueue.x-k8s.io/pod-group-name": "long"}, "long"),
        ({}, {}, ""),
    ],
)
def test_a_pod_names_its_workload(labels: dict[str, str], annotations: dict[str, str], expected: str) -> None:
    assert workload_name({"metadata": {"labels": labels, "annotations": annotations}}) == expected


# -- a group's nodes --------------------------------------------------------------------------------------------


def views(*names: str, **labels: str) -> dict[str, NodeView]:
    return {name: NodeView(name=name, uid=name, labels={HOST: f"host-{name}", **labels}) for name in names}


def of_sample(*assignments: dict[str, Any] | None, nodes: dict[str, NodeView], **others: Any) -> Placed | None:
    pods = list(load("kueue").pods.values())
    known = parse(workload(*assignments, **others)) if assignments else None
    workloads = {} if known is None else {("team", known.name): known}
    return placed(resolve(pods[0]), pods, workloads=workloads, nodes=nodes)


def test_the_nodes_are_those_that_kueue_assigned_by_hostname() -> None:
    assert of_sample(hosts("host-b", "host-c"), nodes=views("a", "b", "c")) == Placed(("b", "c"), exact=True)


def test_a_domain_above_nodes_leaves_the_choice_within_it() -> None:
    assignment = {"levels": [RACK], "domains": [{"values": ["r1"], "count": 2}]}
    nodes = views("a", "b", **{RACK: "r1"}) | views("c", **{RACK: "r2"})
    assert of_sample(assignment, nodes=nodes) == Placed(("a", "b"), exact=False)


@pytest.mark.parametrize("assignments", [(), (None,), (hosts("host-a", "host-gone"),)])
def test_it_is_waited_for_while_kueues_gate_holds_the_pods(assignments: tuple[Any, ...]) -> None:
    assert of_sample(*assignments, nodes=views("a")) == Placed(waits=True)


def test_without_a_workload_pods_that_kueue_let_go_are_ours_to_place() -> None:
    pods = list(load("kueue").pods.values())
    for pod in pods:
        pod["spec"] = pod["spec"] | {"schedulingGates": [{"name": keys.GATE}]}
    assert placed(resolve(pods[0]), pods, workloads={}, nodes=views("a")) is None


def test_pods_that_kueue_only_admits_are_ours_to_place() -> None:
    pods = list(load("lws").pods.values())
    assert placed(resolve(pods[0]), pods, workloads={}, nodes={}) is None


def test_each_job_of_a_replicated_job_has_the_places_of_its_ranks() -> None:
    workloads = load("jobset")
    pod = workloads.pods["workers-0-0"]
    pod["metadata"]["annotations"]["kueue.x-k8s.io/podset-required-topology"] = RACK
    pod["metadata"]["annotations"]["kueue.x-k8s.io/workload"] = "sample"
    pod["metadata"]["labels"]["kueue.x-k8s.io/podset"] = "4ebdd4a6"
    known = parse(workload(hosts("host-a", "host-b", "host-c", "host-d"), counts=(4,)))
    where = {"workloads": {("team", "sample"): known}, "nodes": views("a", "b", "c", "d")}
    member = workloads.member("workers-0-0")
    assert placed(member, [pod], **where) == Placed(("a", "b"), exact=True)
    pod["metadata"]["labels"]["jobset.sigs.k8s.io/job-index"] = "1"
    assert placed(member, [pod], **where) == Placed(("c", "d"), exact=True)


# -- what is done about it --------------------------------------------------------------------------------------


def facts(*, warm: str = "", where: Placed, gates: tuple[str, ...] = (keys.GATE,), bound: str = "") -> GroupFacts:
    """Four nodes of one GPU pod each; the first pod is on ``bound``."""
    found = []
    for name in "abcd":
        ready = NodeModelStatus(model=MODEL.hash, revision=MODEL.revision, state="Ready", tree=MODEL.tree)
        states = (ready if name in warm else None,)
        done = MODEL.bytes if name in warm else 0
        warmth = Warmth(name, has_agent=True, states=states, bytes_total=MODEL.bytes, bytes_done=done)
        found.append(NodeFacts(view=views(name)[name], free={"nvidia.com/gpu": 8, "pods": 9}, warmth=warmth))
    pods = []
    for pod in load("kueue").pods.values():
        here = bound if not pods else ""
        held = [] if here else [{"name": gate} for gate in gates]
        pinned = {HOST: "host-c"}  # as Kueue's ungater leaves it
        pods.append(pod | {"spec": pod["spec"] | {"schedulingGates": held, "nodeName": here, "nodeSelector": pinned}})
    member = replace(resolve(pods[0]), size=2)
    return GroupFacts(member=member, pods=tuple(pods), nodes=snapshot_of(found), wanted=(MODEL,), placed=where)


def look(**changes: Any) -> Decision:
    return decide(facts(**changes), now=NOW)


def test_nothing_is_pulled_before_kueue_has_said_where() -> None:
    decision = look(where=Placed(waits=True), gates=("kueue.x-k8s.io/topology", keys.GATE))
    assert (decision.reason, decision.plan.nodes, decision.release) == ("NotPlaced", (), ())


def test_kueues_nodes_are_warmed_though_others_are_warm_already() -> None:
    decision = look(where=Placed(("c", "d"), exact=True), warm="ab")
    assert (decision.reason, decision.plan.nodes, decision.release) == ("Warming", ("c", "d"), ())
    assert {name: taken["nvidia.com/gpu"] for name, taken in decision.plan.reserved.items()} == {"c": 8, "d": 8}


def test_the_group_goes_when_all_of_kueues_nodes_are_warm_and_requires_nothing_more() -> None:
    assert look(where=Placed(("c", "d"), exact=True), warm="abc").release == ()
    decision = look(where=Placed(("c", "d"), exact=True), warm="cd")
    assert (decision.reason, len(decision.release), decision.terms.domain) == ("Warm", 2, None)


def test_within_kueues_domains_the_nodes_with_the_bytes_are_chosen() -> None:
    where = facts(where=Placed(("b", "c", "d")), warm="d")
    free = tuple(pod | {"spec": pod["spec"] | {"nodeSelector": {}}} for pod in where.pods)
    assert decide(replace(where, pods=free), now=NOW).plan.nodes == ("d", "b")


def test_the_node_that_replaces_a_failed_one_is_warmed_before_its_pod_is_there() -> None:
    where = facts(where=Placed(("c", "d"), exact=True), bound="c")
    running = replace(where, pods=where.pods[:1])  # the other pod died with its node
    assert decide(running, now=NOW).plan.nodes == ("c", "d")
