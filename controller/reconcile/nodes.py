"""A node: its NodeCache says what groups' plans, WarmSets and bound pods want there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import msgspec

from api.resources import NodeCache, WarmSet
from controller import nodecaches, wants
from controller.book import Enrolment, GroupBook
from controller.cohorts import Content
from controller.cooling import cooled_models
from controller.desires import Desire, merge
from controller.facts import living
from controller.made import warm_set_name
from controller.nodes import NodeView
from controller.pods import key
from controller.quotas import admit
from controller.reconcile.context import Context, Work
from controller.reconcile.marks import mark
from controller.retention import asks
from controller.rot import readers
from controller.selection import selects
from controller.warmth import Wanted
from controller.world import World

LOWEST = -1000  # as the schema of priorities


async def reconcile(context: Context, work: Work) -> float | None:
    view = context.world.nodes.get(work.name)
    if view is None:
        context.refused.pop(work.name, None)
        return None  # the garbage collector removes a NodeCache with its Node
    cache = context.world.caches.get(work.name)
    present = {(entry.model, entry.revision) for entry in cache.spec.models} if cache else set()
    kept, refused = admit(desires(context.world, context.book, view), context.config.quotas, present=present)
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
            wanting=partial(_wanting, context),
            domain_of=partial(_domain_of, context),
        )
    written = await nodecaches.write(context.client, node=view, cache=cache, spec=spec)
    if written is not None:
        # Ahead of the watch, so that the next decision does not start from what we have just replaced.
        context.world.caches[work.name] = msgspec.convert(written, type=NodeCache)
    for pod, message in readers(cache, context.world.pods_on(work.name)) if cache else ():
        about = {"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]}
        await context.events.say(about, reason="Corrupted", message=message, action="Repair", kind="Warning")
    return _sooner(again_s, await mark(context, view, spec))


def _sooner(first_s: float | None, second_s: float | None) -> float | None:
    return min((seconds for seconds in (first_s, second_s) if seconds is not None), default=None)


def _wanting(context: Context, content: Content) -> Iterator[str]:
    for name, view in context.world.nodes.items():
        wished = (desire.wanted for desire in desires(context.world, context.book, view))
        if any((wanted.hash, wanted.revision) == content for wanted in wished):
            yield name


def _domain_of(context: Context, name: str) -> str:
    """The narrowest domain that the node is in."""
    view = context.world.nodes.get(name)
    return "/".join(view.labels.get(level, "") for level in context.offers.levels) if view else ""


def _note(context: Context, view: NodeView, refused: Iterable[Desire]) -> None:
    """What quotas keep off the node, for the WarmSets' status."""
    found = frozenset(desire.wanted for desire in refused)
    if found == context.refused.get(view.name, frozenset()):
        return
    context.refused[view.name] = found
    concerned = {
        context.world.placed[group] for group in context.book.groups_on(view.name) if group in context.world.placed
    }
    for key_of, warm_set in context.world.warm_sets.items():
        if key_of in concerned or selects(warm_set.spec.placement, view):
            context.warm_set(*key_of)


def desires(world: World, book: GroupBook, view: NodeView) -> Iterator[Desire]:
    for group in book.groups_on(view.name):
        if group in world.placed:
            yield from _ahead(world, book, group)
        else:
            yield from _of_group(world, book, group)
    for warm_set in world.warm_sets.values():
        if selects(warm_set.spec.placement, view) and asks(warm_set):
            yield from _of_warm_set(world, warm_set, group="")
    for pod in world.pods_on(view.name):
        enrolment = book.enrolments.get(key(pod))
        made = None if enrolment is None else _made_for(world, enrolment)
        for wanted in wants.landing(pod, world.models):
            yield _desire(wanted, made, group="", namespace=key(pod)[0], mounted=True)


def _of_group(world: World, book: GroupBook, group: str) -> Iterator[Desire]:
    enrolment = book.enrolment(group)
    if enrolment is None:
        return
    wanted, _ = wants.of_pods(living(world, book, group), world.models)
    made = _made_for(world, enrolment)
    yield from (_desire(one, made, group=group, namespace=enrolment.member.namespace) for one in wanted)


def _made_for(world: World, enrolment: Enrolment) -> WarmSet | None:
    """The workload's WarmSet, in which its priority and retention can be set."""
    return world.warm_sets.get((enrolment.member.namespace, warm_set_name(enrolment.top)))


def _ahead(world: World, book: GroupBook, group: str) -> Iterator[Desire]:
    """Below what pods wait for already."""
    warm_set = world.warm_sets[world.placed[group]]
    if group not in book.ahead:
        yield from _of_warm_set(world, warm_set, group=group)
    for wanted in book.ahead.get(group, ()):
        desire = _desire(wanted, warm_set, group=group, namespace=warm_set.metadata.namespace)
        yield replace(desire, priority=max(LOWEST, desire.priority - 1))


def _of_warm_set(world: World, warm_set: WarmSet, *, group: str) -> Iterator[Desire]:
    wanted, _ = wants.of_warm_set(warm_set, world.models)
    yield from (_desire(one, warm_set, group=group, namespace=warm_set.metadata.namespace) for one in wanted)


def _desire(wanted: Wanted, warm_set: WarmSet | None, *, group: str, namespace: str, mounted: bool = False) -> Desire:
    if warm_set is None:
        return Desire(wanted, group=group, namespace=namespace, mounted=mounted)
    pinned = warm_set.spec.retention is not None and warm_set.spec.retention.pinned
    priority = warm_set.spec.priority
    return Desire(wanted, group=group, priority=priority, pinned=pinned, namespace=namespace, mounted=mounted)
