"""What a WarmSet's plan would be, worked out from objects as they are in the cluster. Nothing is changed by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from api.resources import WarmSet
from controller.cluster.roster import Roster
from controller.cluster.snapshots import Snapshots
from controller.cluster.world import World
from controller.models.wanted import Wanted
from controller.node_caches.desires import groups_held
from controller.node_caches.eviction import Room, room
from controller.node_caches.warmth import Warmth
from controller.planning.fitting import Rejection
from controller.planning.planner import DomainRejection, Plan
from controller.warm_sets.group_placement import demand, placed_groups, plan_groups
from controller.warm_sets.node_placement import selects, strangers


@dataclass(frozen=True, slots=True)
class GroupPreview:
    """One group: its plan, and what its nodes hold of the models."""

    plan: Plan
    nodes: tuple[Warmth, ...]
    rooms: Mapping[str, Room] = field(default_factory=dict)  # what each node would have to evict for it


@dataclass(frozen=True, slots=True)
class Preview:
    """``rejected`` nodes are out for any group of this WarmSet, and so are ``domains`` for any group of its size."""

    groups: tuple[GroupPreview, ...]
    rejected: tuple[Rejection, ...] = ()
    domains: tuple[DomainRejection, ...] = ()


def world_of(nodes: Iterable[dict[str, Any]], *, caches: Iterable[dict[str, Any]]) -> World:
    world = World()
    for node in nodes:
        world.on_node(("", node["metadata"]["name"]), node)
    for cache in caches:
        world.on_cache(("", cache["metadata"]["name"]), cache)
    return world


def preview(warm_set: WarmSet, world: World, wanted: tuple[Wanted, ...], *, levels: tuple[str, ...]) -> Preview:
    """Groups that exist keep the nodes that NodeCaches hold for them, as in the controller."""
    placement = warm_set.spec.placement
    snapshots = Snapshots(
        world, Roster(), levels=levels
    )  # such groups count no requests, so that other groups' plans do not matter
    everything = snapshots.all("", wanted)
    if placement.groups is None:
        chosen = [facts for facts in everything.values() if selects(placement, facts.view)]
        names = tuple(facts.view.name for facts in chosen)
        selected = _group(Plan(nodes=names), [facts.warmth for facts in chosen], warm_set, world, wanted)
        lost = [
            Rejection(name, "NodeNotFound", "the cluster has no such node") for name in strangers(placement, everything)
        ]
        return Preview((selected,), tuple(lost))
    held = _held(world)
    known = {group: held.get(group, ()) for group in placed_groups(warm_set)}
    plans = plan_groups(placement.groups, everything, held=known, levels=levels).values()
    rejected, domains = everything.planner.explain(demand(placement.groups, levels=levels))
    groups = (_group(p, [everything[name].warmth for name in p.all_nodes], warm_set, world, wanted) for p in plans)
    return Preview(tuple(groups), rejected, tuple(domains))


def _group(
    plan: Plan, nodes: list[Warmth], warm_set: WarmSet, world: World, wanted: tuple[Wanted, ...]
) -> GroupPreview:
    keep = frozenset((w.hash, w.revision) for w in wanted)
    priority = warm_set.spec.priority
    rooms = {n.node: room(world.caches.get(n.node), n.missing_bytes, keep=keep, priority=priority) for n in nodes}
    return GroupPreview(plan, tuple(nodes), rooms)


def _held(world: World) -> Mapping[str, list[str]]:
    held: dict[str, list[str]] = {}
    for name, cache in world.caches.items():
        for group in groups_held(cache.spec):
            held.setdefault(group, []).append(name)
    return held
