"""A node: its NodeCache says what groups' plans, WarmSets and bound pods want there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from api.resources import WarmSet
from controller.cluster.roster import Enrolment, Roster
from controller.cluster.seat_index import Content
from controller.cluster.world import World
from controller.gate.gather import living
from controller.models import permitted
from controller.models.wanted import Wanted
from controller.node_caches import writer
from controller.node_caches.corruption import readers
from controller.node_caches.desires import Desire, merge
from controller.node_caches.quotas import admit
from controller.objects.nodes import NodeView
from controller.objects.pods import key, node
from controller.reconcile.context import Context, Work
from controller.reconcile.marks import mark
from controller.warm_sets.cooling import cooled_models
from controller.warm_sets.group_placement import placed_groups
from controller.warm_sets.node_placement import selects
from controller.warm_sets.retention import asks

LOWEST = -1000  # as the schema of priorities


async def reconcile(context: Context, work: Work) -> float | None:
    view = context.world.nodes.get(work.name)
    if view is None:
        context.refused.pop(work.name, None)
        return None  # the garbage collector removes a NodeCache with its Node
    cache = context.world.caches.get(work.name)
    kept, refused = _admitted(context, view)
    _note(context, view, refused)
    spec = merge(
        kept,
        reported=cache.status.models if cache else (),
        cooled=cooled_models(context.world.warm_sets.values()),
    )
    again_s = None
    if context.config.exchange:
        spec, again_s = context.cohorts.seated(
            spec,
            node=view.name,
            caches=context.world.caches,
            taken=context.world.seats.of,
            wanting=partial(_wanting, context),
            domain_of=partial(_domain_of, context),
        )
    written = await writer.write(context.client, node=view, cache=cache, spec=spec)
    if written is not None:
        # Ahead of the watch, so that the next decision does not start from what we have just replaced.
        context.world.on_cache(("", work.name), written)
    for pod, message in readers(cache, context.world.mounting_on(work.name)) if cache else ():
        about = {"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]}
        await context.events.say(about, reason="Corrupted", message=message, action="Repair", kind="Warning")
    return _sooner(again_s, await mark(context, view, spec))


def _sooner(first_s: float | None, second_s: float | None) -> float | None:
    return min((seconds for seconds in (first_s, second_s) if seconds is not None), default=None)


def _admitted(context: Context, view: NodeView) -> tuple[list[Desire], list[Desire]]:
    """The node's desires that quotas allow, and those that they do not."""
    cache = context.world.caches.get(view.name)
    present = {(entry.model, entry.revision) for entry in cache.spec.models} if cache else set()
    return admit(desires(context.world, context.roster, view), context.config.quotas, present=present)


def _wanting(context: Context, content: Content) -> Iterator[str]:
    """The nodes that are to hold it, whether they do or not."""
    for name in _concerned(context, content[0]) & context.world.nodes.keys():
        kept, _ = _admitted(context, context.world.nodes[name])
        if any((desire.wanted.hash, desire.wanted.revision) == content for desire in kept):
            yield name


def _concerned(context: Context, hashed: str) -> set[str]:
    """Nodes that something which names the model could want it on."""
    world, roster = context.world, context.roster
    model = world.models_by_hash.get(hashed)
    if model is None:
        return set()
    name = f"{model.metadata.namespace}/{model.metadata.name}"
    pods = [key(pod) for pod in world.pods_with(name)]
    groups = {roster.enrolments[pod].member.id for pod in pods if pod in roster.enrolments}
    groups |= {group for group, wanted in roster.ahead.items() if any(one.model == name for one in wanted)}
    found = {*world.claims.nodes_with(name), *(node(world.pods[pod]) for pod in pods)}
    for warm_set in world.warm_sets.values():
        if name in permitted.names(warm_set):
            groups.update(placed_groups(warm_set))
            found |= {view.name for view in world.nodes.values() if selects(warm_set.spec.placement, view)}
    return found.union(*(roster.plan(group).all_nodes for group in groups))


def _domain_of(context: Context, name: str) -> str:
    """The narrowest domain that the node is in."""
    view = context.world.nodes.get(name)
    return "/".join(view.labels.get(level, "") for level in context.snapshots.levels) if view else ""


def _note(context: Context, view: NodeView, refused: Iterable[Desire]) -> None:
    """What quotas keep off the node, for the WarmSets' status."""
    found = frozenset(desire.wanted for desire in refused)
    if found == context.refused.get(view.name, frozenset()):
        return
    context.refused[view.name] = found
    concerned = {
        context.world.placed[group] for group in context.roster.groups_on(view.name) if group in context.world.placed
    }
    for key_of, warm_set in context.world.warm_sets.items():
        if key_of in concerned or selects(warm_set.spec.placement, view):
            context.warm_set(*key_of)


def desires(world: World, roster: Roster, view: NodeView) -> Iterator[Desire]:
    for group in roster.groups_on(view.name):
        if group in world.placed:
            yield from _ahead(world, roster, group)
        else:
            yield from _of_group(world, roster, group)
    for warm_set in world.warm_sets.values():
        if selects(warm_set.spec.placement, view) and asks(warm_set):
            yield from _of_warm_set(world, warm_set, group="")
    for mounting in world.mounting_on(view.name):
        enrolment = roster.enrolments.get(key(mounting.pod))
        made = None if enrolment is None else _made_for(world, enrolment)
        for wanted in permitted.landing(mounting, world.models):
            yield _desire(wanted, made, group="", namespace=key(mounting.pod)[0], mounted=True)


def _of_group(world: World, roster: Roster, group: str) -> Iterator[Desire]:
    enrolment = roster.enrolment(group)
    if enrolment is None:
        return
    wanted, _ = permitted.of_pods(living(world, roster, group), world.models)
    made = _made_for(world, enrolment)
    yield from (_desire(one, made, group=group, namespace=enrolment.member.namespace) for one in wanted)


def _made_for(world: World, enrolment: Enrolment) -> WarmSet | None:
    """The workload's WarmSet, in which its priority and retention can be set."""
    return world.warm_sets.get(enrolment.warm_set)


def _ahead(world: World, roster: Roster, group: str) -> Iterator[Desire]:
    """Below what pods wait for already."""
    warm_set = world.warm_sets[world.placed[group]]
    if group not in roster.ahead:
        yield from _of_warm_set(world, warm_set, group=group)
    for wanted in roster.ahead.get(group, ()):
        desire = _desire(wanted, warm_set, group=group, namespace=warm_set.metadata.namespace)
        yield replace(desire, priority=max(LOWEST, desire.priority - 1))


def _of_warm_set(world: World, warm_set: WarmSet, *, group: str) -> Iterator[Desire]:
    wanted, _ = permitted.of_warm_set(warm_set, world.models)
    yield from (_desire(one, warm_set, group=group, namespace=warm_set.metadata.namespace) for one in wanted)


def _desire(wanted: Wanted, warm_set: WarmSet | None, *, group: str, namespace: str, mounted: bool = False) -> Desire:
    if warm_set is None:
        return Desire(wanted, group=group, namespace=namespace, mounted=mounted)
    pinned = warm_set.spec.retention is not None and warm_set.spec.retention.pinned
    priority = warm_set.spec.priority
    return Desire(wanted, group=group, priority=priority, pinned=pinned, namespace=namespace, mounted=mounted)
