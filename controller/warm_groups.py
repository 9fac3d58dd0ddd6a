"""Groups that a WarmSet keeps warm ahead of any pod: ``placement.groups``. Planned as other groups, by nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from api.resources import GroupPlacement, WarmSet
from controller.cooling import is_cooled
from controller.decide import NodeFacts, candidates
from controller.fitting import PodShape
from controller.plan import Demand, Plan, plan

# A node each, whatever is free on it and however it is tainted: the pods to come are not known.
_ANY_POD = PodShape(tolerations=({"operator": "Exists"},), one_per_node=True)


def group_id(warm_set: WarmSet, index: int) -> str:
    """How NodeCaches name the WarmSet's group number ``index``."""
    return hashlib.sha256(f"warmset\0{warm_set.metadata.uid}\0{index}".encode()).hexdigest()[:16]


def placed_groups(warm_set: WarmSet | None) -> list[str]:
    """Ids of the groups that the WarmSet asks for."""
    if warm_set is None or warm_set.spec.placement.groups is None or is_cooled(warm_set):
        return []
    return [group_id(warm_set, index) for index in range(warm_set.spec.placement.groups.count)]


def plan_group(
    placement: GroupPlacement,
    nodes: Iterable[NodeFacts],
    *,
    held: Iterable[str],
    siblings: frozenset[str],
    levels: tuple[str, ...] = (),
) -> Plan:
    """``siblings``: nodes of the same WarmSet's other groups; two groups on one node would warm it once."""
    found = candidates(nodes, held=held)
    taken = [
        replace(c, unusable=("InOtherGroup", "another group of this WarmSet has it")) if c.node.name in siblings else c
        for c in found
    ]
    return plan(demand(placement, levels=levels), taken)


def demand(placement: GroupPlacement, *, levels: tuple[str, ...]) -> Demand:
    return Demand(
        pods=(_ANY_POD,) * placement.size,
        spare_nodes=placement.spare,
        topology_key=placement.topology_key,
        levels=levels,
    )
