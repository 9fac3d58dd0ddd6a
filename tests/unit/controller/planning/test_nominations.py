"""Which warm node is proposed to the scheduler for which pod."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.node_caches.warmth import Warmth
from controller.objects.nodes import NodeView
from controller.planning.nominations import nominate
from controller.planning.snapshot import NodeFacts

GPU = "nvidia.com/gpu"


def node(name: str, *, gpus: int = 8, **labels: str) -> NodeFacts:
    warmth = Warmth(name, has_agent=True, states=(), bytes_total=0, bytes_done=0)
    return NodeFacts(view=NodeView(name=name, uid=name, labels=labels), free={GPU: gpus, "pods": 9}, warmth=warmth)


def pod(name: str, *, gpus: int = 8, nominated: str = "", **spec: Any) -> dict[str, Any]:
    requests = {"resources": {"requests": {GPU: str(gpus)}}}
    meta = {"namespace": "team", "name": name, "labels": {"app": "x"}}
    return {"metadata": meta, "spec": {"containers": [requests], **spec}, "status": {"nominatedNodeName": nominated}}


def by_name(found: dict[tuple[str, str], str]) -> dict[str, str]:
    return {name: where for (_, name), where in found.items()}


def test_pods_fill_the_nodes_in_order_by_what_they_request() -> None:
    pods = [pod("c"), pod("a", gpus=4), pod("b", gpus=4)]
    assert by_name(nominate(pods, [node("n1"), node("n2")], waiting=())) == {"a": "n1", "b": "n1", "c": "n2"}


def test_a_pod_is_proposed_no_node_that_it_could_not_run_on() -> None:
    picky = pod("a", nodeSelector={"rack": "r2"})
    nodes = [node("n1", rack="r1"), replace(node("n2", rack="r2"), free={GPU: 4}), node("n3", rack="r2")]
    assert by_name(nominate([picky, pod("b"), pod("c")], nodes, waiting=())) == {"a": "n3", "b": "n1"}


def test_pods_that_keep_their_like_away_are_proposed_a_node_each() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
    apart = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    pods = [pod("a", gpus=1, **apart), pod("b", gpus=1, **apart)]
    assert by_name(nominate(pods, [node("n1"), node("n2")], waiting=())) == {"a": "n1", "b": "n2"}


def test_a_member_that_comes_late_is_proposed_what_the_earlier_ones_left() -> None:
    earlier = [pod("a", nominated="n2"), pod("b", nominated="elsewhere"), pod("c")]
    assert by_name(nominate([pod("d")], [node("n2"), node("n1")], waiting=earlier)) == {"d": "n1"}


@given(st.lists(st.integers(1, 8), max_size=8), st.lists(st.integers(0, 8), max_size=5))
def test_no_node_is_proposed_to_more_than_it_holds(asked: list[int], free: list[int]) -> None:
    found = nominate(
        [pod(f"p{i}", gpus=gpus) for i, gpus in enumerate(asked)],
        [node(f"n{i}", gpus=gpus) for i, gpus in enumerate(free)],
        waiting=(),
    )
    for number, room in enumerate(free):
        assert sum(asked[int(name[1:])] for (_, name), where in found.items() if where == f"n{number}") <= room
