"""Nodes that a WarmSet takes as they are, by name or by label. Groups and workloads are planned instead."""

from __future__ import annotations

from collections.abc import Iterable

from api.resources import Placement
from controller.objects.nodes import NodeView
from controller.planning.fitting import selector_matches


def selects(placement: Placement, node: NodeView) -> bool:
    if placement.nodes is not None:
        return node.name in placement.nodes
    return placement.node_selector is not None and selector_matches(placement.node_selector, node.labels)


def strangers(placement: Placement, known: Iterable[str]) -> list[str]:
    """Nodes that the placement names and the cluster does not have."""
    return sorted(set(placement.nodes or ()).difference(known))
