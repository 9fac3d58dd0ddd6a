"""A node on which an operator paused pulls gets no plan, unless it holds the model already."""

from __future__ import annotations

import pytest

from api.fields import ObjectMeta
from api.resources import NodeCache, NodeCacheStatus, NodeModelStatus
from controller.models.wanted import Wanted
from controller.node_caches.warmth import warmth
from controller.objects import nodes
from controller.objects.nodes import NodeView
from controller.planning.snapshot import NodeFacts

MODEL = Wanted("team-a/llama", "r", bytes=10)


def view() -> NodeView:
    return nodes.view({"metadata": {"name": "n", "uid": "u", "labels": {}}, "spec": {}, "status": {"allocatable": {}}})


def problem(*, paused: bool, state: str | None) -> str:
    said = [NodeModelStatus(model=MODEL.hash, revision="r", state=state, reason="Paused")] if state else []  # type: ignore[arg-type]
    status = NodeCacheStatus(node_uid="u", paused=paused, models=said)
    cache = NodeCache(metadata=ObjectMeta(name="n"), status=status)
    found = warmth("n", node=view(), cache=cache, wanted=(MODEL,))
    unusable = NodeFacts(view=view(), free={}, warmth=found).candidate().unusable
    assert found.obstacle == (unusable[0] if unusable else ""), "the status says the same"
    return found.obstacle


@pytest.mark.parametrize("state", [None, "Queued"])
def test_a_paused_node_without_the_model_is_not_planned_for(state: str | None) -> None:
    assert problem(paused=True, state=state) == "Paused"


@pytest.mark.parametrize("state", ["Ready", "Pulling"])
def test_a_paused_node_that_holds_the_model_or_is_pulling_it_is(state: str) -> None:
    assert problem(paused=True, state=state) == ""


def test_without_a_pause_it_is_planned_for_again() -> None:
    assert problem(paused=False, state=None) == ""
