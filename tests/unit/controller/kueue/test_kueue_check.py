"""When our admission check lets a Workload of Kueue go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api import keys
from api.fields import Condition, ObjectMeta
from api.resources import Placement, WarmSet, WarmSetSpec, WarmSetStatus
from controller.kueue.check import MOST_NODES, Answer, answer
from controller.kueue.workload import Place, PodSet, Workload, admission_check
from controller.objects.nodes import HOSTNAME, NodeView

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
NODES = {name: NodeView(name=name, uid=name, labels={HOSTNAME: name}) for name in ("a", "b", "c")}
ASKS = {keys.MODEL: "llama"}
WORKERS = PodSet("worker", 2, annotations=ASKS, places=(Place({HOSTNAME: "a"}, 1), Place({HOSTNAME: "b"}, 1)))


def workload(*pod_sets: PodSet) -> Workload:
    reserved = (NOW - timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
    return Workload("team", "w", "u", "kueue.x-k8s.io/v1beta2", pod_sets, reserved_at=reserved)


def warm_set(*nodes: str, ready: int, observed: int = 1) -> WarmSet:
    warm = Condition(
        type="Warm",
        status="True" if ready == len(nodes) else "False",
        reason="Warm",
        last_transition_time="2026-01-01T00:00:00Z",
    )
    return WarmSet(
        metadata=ObjectMeta(name="workload-w", namespace="team", generation=1),
        spec=WarmSetSpec(models=["llama"], placement=Placement(nodes=list(nodes))),
        status=WarmSetStatus(observed_generation=observed, nodes_ready=ready, conditions=[warm]),
    )


def look(*pod_sets: PodSet, known: WarmSet | None = None, most_s: int = 1800, **others: Any) -> Answer:
    return answer(workload(*pod_sets), known, **({"nodes": NODES, "most_s": most_s, "now": NOW} | others))


def test_it_waits_for_the_nodes_that_kueue_assigned_to_pods_that_ask() -> None:
    launcher = PodSet("launcher", 1, places=(Place({HOSTNAME: "c"}, 1),))
    found = look(launcher, WORKERS)
    assert (found.state, found.nodes, [r.model for r in found.asked]) == ("Pending", ("a", "b"), ["team/llama"])


@pytest.mark.parametrize(
    ("known", "state"),
    [
        (warm_set("a", "b", ready=1), "Pending"),
        (warm_set("a", "b", ready=2), "Ready"),
        (warm_set("a", "b", ready=2, observed=0), "Pending"),  # of an older list of nodes
        (warm_set("a", "c", ready=2), "Pending"),  # Kueue has replaced a node since
    ],
)
def test_it_goes_by_the_warm_set_over_these_very_nodes(known: WarmSet, state: str) -> None:
    assert look(WORKERS, known=known).state == state


@pytest.mark.parametrize(
    "pod_set",
    [
        replace(WORKERS, annotations={}),
        replace(WORKERS, places=None),  # no topology-aware scheduling, or delayed until all checks are ready
        replace(WORKERS, annotations={keys.MODEL: "no such model!"}),
    ],
)
def test_what_cannot_be_warmed_beforehand_is_not_held_here(pod_set: PodSet) -> None:
    found = look(pod_set)
    assert (found.state, found.nodes) == ("Ready", ())


def test_more_nodes_than_a_warm_set_names_are_left_to_the_gate() -> None:
    names = [f"n{i}" for i in range(MOST_NODES + 1)]
    nodes = {name: NodeView(name=name, uid=name, labels={HOSTNAME: name}) for name in names}
    places = tuple(Place({HOSTNAME: name}, 1) for name in names)
    assert look(replace(WORKERS, places=places), nodes=nodes).state == "Ready"


def test_it_holds_no_longer_than_a_gate_may() -> None:
    found = look(WORKERS, known=warm_set("a", "b", ready=0), most_s=60)
    assert (found.state, found.nodes) == ("Ready", ("a", "b"))


def test_only_checks_of_our_name_are_answered() -> None:
    check = {"apiVersion": "kueue.x-k8s.io/v1beta2", "spec": {"controllerName": "warmset.dev/weights"}}
    found = admission_check(check)
    assert found is not None
    assert not found.ready
    assert admission_check(check | {"spec": {"controllerName": "kueue.x-k8s.io/multikueue"}}) is None
