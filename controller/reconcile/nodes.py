"""A node: its NodeCache says what groups' plans, WarmSets and bound pods want there."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from api.resources import NodeCache, WarmSet
from controller import nodecaches, wants
from controller.book import GroupBook
from controller.cooling import cooled_models, is_cooled
from controller.desires import Desire, merge
from controller.facts import living
from controller.nodes import NodeView
from controller.reconcile.context import Context, Work
from controller.selection import selects
from controller.world import World


async def reconcile(context: Context, work: Work) -> float | None:
    view = context.world.nodes.get(work.name)
    if view is None:
        return None  # the garbage collector removes a NodeCache with its Node
    cache = context.world.caches.get(work.name)
    spec = merge(
        desires(context.world, context.book, view),
        reported=cache.status.models if cache else (),
        cooled=cooled_models(context.world.warm_sets.values()),
    )
    written = await nodecaches.write(context.client, node=view, cache=cache, spec=spec)
    if written is not None:
        # Ahead of the watch, so that the next decision does not start from what we have just replaced.
        context.world.caches[work.name] = msgspec.convert(written, type=NodeCache)
    return None


def desires(world: World, book: GroupBook, view: NodeView) -> Iterator[Desire]:
    for group in book.groups_on(view.name):
        if group in world.placed:
            yield from _of_warm_set(world, world.warm_sets[world.placed[group]], group=group)
        else:
            wanted, _ = wants.of_pods(living(world, book, group), world.models)
            yield from (Desire(one, group=group) for one in wanted)
    for warm_set in world.warm_sets.values():
        if selects(warm_set.spec.placement, view) and not is_cooled(warm_set):
            yield from _of_warm_set(world, warm_set, group="")
    for pod in world.pods_on(view.name):
        yield from (Desire(wanted) for wanted in wants.landing(pod, world.models))


def _of_warm_set(world: World, warm_set: WarmSet, *, group: str) -> Iterator[Desire]:
    wanted, _ = wants.of_warm_set(warm_set, world.models)
    pinned = warm_set.spec.retention is not None and warm_set.spec.retention.pinned
    for one in wanted:
        yield Desire(one, group=group, priority=warm_set.spec.priority, pinned=pinned)
