"""How many groups of a workload to warm before their pods exist, and where. Pure.

A group is stale when its pods mount something else than the workload's template asks for now: its successor comes soon.
Rollouts go step by step, so only the next few successors are warmed, in the order in which the workload API replaces
groups; when they are there, the next ones follow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from api.resources import WorkloadPlacement
from controller.groups import Owner
from controller.groups.member import ordinal
from controller.groups.templates import Expected, tells
from controller.models.wanted import Wanted
from controller.objects.pods import spread_key
from controller.objects.quantities import Resources, add, subtract
from controller.planning.candidates import Candidate, Demand, crowds
from controller.planning.fitting import shape
from controller.planning.planner import Plan, Planner
from controller.warm_sets.group_placement import MOST_AHEAD

STEP = 2  # successors at a time: one that comes now, and the next


@dataclass(frozen=True, slots=True)
class Present:
    """A living group: the nodes that it has, and what its pods take of each; ``stale``, if it is to be replaced."""

    name: str
    stale: bool
    taken: Mapping[str, Resources]


def maker(workload: WorkloadPlacement, chains: Sequence[Sequence[Owner]]) -> WorkloadPlacement | None:
    """The object whose template the workload's pods are made from: the outermost of their owners that tells. KServe's
    Deployment stands for its InferenceService. None where groups come from several templates, of which none is theirs
    all."""
    found = {}
    for chain in chains:
        owner = next((owner for owner in reversed(chain) if tells(owner.api_version, owner.kind)), None)
        if owner is None:
            return None
        found[owner.uid] = owner
    if not found:
        return workload
    if len(found) > 1:
        return None
    (owner,) = found.values()
    return WorkloadPlacement(api_version=owner.api_version, kind=owner.kind, name=owner.name)


def is_stale(mounted: Collection[Wanted], wanted: Collection[Wanted], expected: Expected) -> bool:
    """Whether pods that mount these are to be replaced. Parts of a workload may ask for different models; a group of
    one part is then current with only some of them."""
    before = {(one.model, one.revision) for one in mounted}
    after = {(one.model, one.revision) for one in wanted}
    return not before <= after if len(expected.parts) > 1 else before != after


def shares(ids: Sequence[str], kinds: Sequence[Expected]) -> Iterator[tuple[Expected, Sequence[str]]]:
    """Each kind's part of the ids for groups ahead: always the same ones, so that its plans stay its own."""
    each = len(ids) // len(kinds) if kinds else 0
    return ((kind, ids[each * index : each * (index + 1)]) for index, kind in enumerate(kinds))


def groups_ahead(expected: Expected, present: Sequence[Present], *, keep_warm: int) -> int:
    """One of several kinds is not kept warm beyond the number of groups that the workload asks for of it."""
    wished = max(keep_warm, expected.keep_warm)
    most = expected.groups if expected.kind and expected.groups else wished
    kept = max(min(wished, most), expected.groups if expected.suspended else 0)
    stale = sum(group.stale for group in present)
    return min(MOST_AHEAD, max(kept - len(present), min(stale, STEP)))


def replaced_next(present: Sequence[Present]) -> list[Present]:
    """Stale groups in the order of a rollout: StatefulSet and LeaderWorkerSet begin with the highest ordinal."""
    return sorted((g for g in present if g.stale), key=lambda g: (-(ordinal(g.name) or 0), g.name))


def plan_ahead(
    expected: Expected,
    candidates: Mapping[str, Candidate],
    *,
    present: Sequence[Present],
    held: Sequence[Sequence[str]],
    levels: tuple[str, ...],
    taken: Mapping[str, Resources] = MappingProxyType({}),
) -> list[Plan]:
    """A plan for each of ``held``, which has the nodes of the earlier ones, beside what groups of other kinds have
    ``taken``.

    Successors take room that is free; where they come in place of the old, or no room is free, the room that the old
    ones will give back.
    """
    nodes = dict(candidates)
    for name in taken.keys() & nodes.keys():
        nodes[name] = replace(nodes[name], free=subtract(nodes[name].free, taken[name]))
    successors = iter(replaced_next(present))
    plans: list[Plan] = []
    for names in held:
        before = next(successors, None)
        freed = {} if before is None else _freed(nodes, before)
        others = [*(group.taken for group in present if group is not before), *(plan.all_nodes for plan in plans)]
        demand = _demand(expected, levels, others, nodes)
        own = [replace(nodes[name], held=True) for name in names if name in nodes]
        if expected.in_place and freed:
            found = Planner(freed.values()).plan(demand)
        else:
            found = Planner(nodes.values()).plan(demand, instead=own)
            if not found.fits and freed:
                found = Planner(freed.values()).plan(demand)
        for name, amount in found.reserved.items():
            nodes[name] = replace(nodes[name], free=subtract(nodes[name].free, amount))
        plans.append(found)
    return plans


def _freed(nodes: Mapping[str, Candidate], group: Present) -> dict[str, Candidate]:
    """The group's nodes as they are without it."""
    return {
        name: replace(nodes[name], free=add((nodes[name].free, taken)))
        for name, taken in group.taken.items()
        if name in nodes
    }


def _demand(
    expected: Expected, levels: tuple[str, ...], others: Sequence[Iterable[str]], nodes: Mapping[str, Candidate]
) -> Demand:
    """``others``: the nodes of each of the workload's other groups."""
    spread = spread_key(expected.pods)
    views = {name: candidate.node for name, candidate in nodes.items()} if spread else {}
    return Demand(
        pods=tuple(shape(pod) for pod in expected.group),
        topology_key=expected.topology_key,
        levels=levels,
        spread_key=spread,
        crowds=crowds(others, key=spread, nodes=views) if spread else {},
    )
