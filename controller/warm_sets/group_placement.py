"""Groups that a WarmSet keeps warm ahead of any pod: ``placement.groups``. Planned as other groups, by nodes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from api.resources import GroupPlacement, WarmSet
from controller.planning.candidates import Candidate, Demand
from controller.planning.fitting import PodShape
from controller.planning.planner import Plan, Planner
from controller.planning.snapshot import Snapshot
from controller.warm_sets.retention import asks

MOST_AHEAD = 16  # groups of one workload, as the schema of keepWarmGroups

# A node each, whatever is free on it and however it is tainted: the pods to come are not known.
_ANY_POD = PodShape(tolerations=({"operator": "Exists"},), one_per_node=True)


def group_id(warm_set: WarmSet, index: int) -> str:
    """How NodeCaches name the WarmSet's group number ``index``."""
    return hashlib.sha256(f"warmset\0{warm_set.metadata.uid}\0{index}".encode()).hexdigest()[:16]


def placed_groups(warm_set: WarmSet | None) -> list[str]:
    """Ids of the groups that the WarmSet asks for; of a workload's, those that it may ever have ahead of its pods."""
    if warm_set is None or not asks(warm_set):
        return []
    placement = warm_set.spec.placement
    count = placement.groups.count if placement.groups is not None else MOST_AHEAD if placement.workload else 0
    return [group_id(warm_set, index) for index in range(count)]


def plan_groups(
    placement: GroupPlacement, nodes: Snapshot, *, held: Mapping[str, Sequence[str]], levels: tuple[str, ...] = ()
) -> dict[str, Plan]:
    """A plan for each group of ``held``, which has the nodes of their earlier plans. No two groups share a node: on
    one node they would be warm once."""
    known = nodes.planner.candidates

    def domains(names: Iterable[str]) -> set[str]:
        return {known[name].node.labels.get(placement.spread_key, "") for name in names if name in known}

    ours = Planner(known.values())
    holders = Counter(name for names in held.values() for name in names if name in known)
    ours.update({name: _taken(known[name]) for name in holders})
    wish, plans = demand(placement, levels=levels), {}
    crowds = Counter(domain for names in held.values() for domain in domains(names))
    for group, names in held.items():
        own = [replace(known[name], held=True) for name in names if holders[name] == 1]
        crowds.subtract(domains(names))
        plans[group] = chosen = ours.plan(replace(wish, crowds=crowds) if placement.spread_key else wish, instead=own)
        crowds.update(domains(chosen.all_nodes))
        holders.update(chosen.all_nodes)
        holders.subtract(name for name in names if name in known)
        ours.update(
            {n: _taken(known[n]) if holders[n] else known[n] for n in {*chosen.all_nodes, *names} & known.keys()}
        )
    return plans


def demand(placement: GroupPlacement, *, levels: tuple[str, ...]) -> Demand:
    return Demand(
        pods=(_ANY_POD,) * placement.size,
        spare_nodes=placement.spare,
        topology_key=placement.topology_key,
        levels=levels,
        spread_key=placement.spread_key,
    )


def _taken(candidate: Candidate) -> Candidate:
    return replace(candidate, unusable=("InOtherGroup", "another group of this WarmSet has it"))
