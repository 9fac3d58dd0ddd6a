"""Whether a pod could run on a node, by the scheduler's own filters."""

from __future__ import annotations

from typing import Any

import pytest

from controller.objects.nodes import NodeView, Taint, trim, view
from controller.planning.fitting import misfit, shape, shortage


def node(**changes: Any) -> NodeView:
    return NodeView(**{"name": "n1", "uid": "u1", "labels": {"pool": "a", "gen": "3"}} | changes)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": {"app": "x"}}, "spec": spec}


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"ready": False}, "NodeNotReady"), ({"schedulable": False}, "NodeCordoned")],
)
def test_an_unready_or_cordoned_node_is_rejected_by_name(changes: dict[str, Any], reason: str) -> None:
    found = misfit(shape(pod()), node(**changes))
    assert found is not None
    assert found[0] == reason


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_taints_need_a_matching_toleration(toleration: dict[str, Any], *, fits: bool) -> None:
    tainted = node(taints=(Taint("gpu", "yes", "NoSchedule"),))
    assert (misfit(shape(pod(tolerations=[toleration])), tainted) is None) is fits


def test_a_taint_that_only_prefers_keeps_nobody_away() -> None:
    assert misfit(shape(pod()), node(taints=(Taint("gpu", "yes", "PreferNoSchedule"),))) is None


@pytest.mark.parametrize(
    ("term", "fits"),
    [
        (expression("pool", "In", "a", "b"), True),
        (expression("pool", "NotIn", "a"), False),
        (expression("zone", "NotIn", "a"), True),
        (expression("zone", "Exists"), False),
        (expression("zone", "DoesNotExist"), True),
        (expression("gen", "Gt", "2"), True),
        (expression("gen", "Lt", "2"), False),
        (expression("pool", "Gt", "2"), False),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}, True),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}, False),
        ({}, False),
    ],
)
def test_required_node_affinity(term: dict[str, Any], *, fits: bool) -> None:
    assert (misfit(shape(pod(affinity=required(term))), node()) is None) is fits


def test_one_matching_term_of_several_is_enough() -> None:
    terms = (expression("pool", "In", "z"), expression("pool", "In", "a"))
    assert misfit(shape(pod(affinity=required(*terms))), node()) is None


def test_a_shortage_says_what_is_asked_and_what_is_free() -> None:
    wanted = shape(pod(containers=[{"resources": {"requests": {"nvidia.com/gpu": "8"}}}]))
    assert shortage(wanted, {"nvidia.com/gpu": 4, "pods": 10}) == (
        "InsufficientResources",
        "nvidia.com/gpu: 8 asked, 4 free",
    )


@pytest.mark.parametrize(
    ("selector", "spreads"),
    [({"matchLabels": {"app": "x"}}, True), ({"matchLabels": {"app": "y"}}, False), ({}, True), (None, False)],
)
def test_a_pod_may_keep_its_like_off_its_node(selector: dict[str, Any] | None, *, spreads: bool) -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert shape(pod(affinity=affinity)).one_per_node is spreads


def test_a_trimmed_node_is_seen_as_the_whole_one() -> None:
    whole = {
        "metadata": {"name": "n1", "uid": "u1", "resourceVersion": "1", "labels": {"a": "b"}, "annotations": {}},
        "spec": {"unschedulable": True, "taints": [{"key": "k", "effect": "NoSchedule"}], "podCIDR": "10.0.0.0/24"},
        "status": {
            "allocatable": {"cpu": "8"},
            "conditions": [{"type": "Ready", "status": "True", "message": "ok"}, {"type": "Other", "status": "False"}],
            "images": [{"names": ["x" * 1000]}],
        },
    }
    assert view(trim(whole)) == view(whole)
    assert "images" not in trim(whole)["status"]
