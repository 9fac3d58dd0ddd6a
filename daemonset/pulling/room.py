"""Room on the node's disk: which trees the agent may evict, and evicting them.

A tree goes only when no publication pins it, the CSI driver has told what is mounted, no WarmSet pins it, no group's
plan holds it, and nothing of the same or a higher priority than the pull in need wants it. Above the disk's high
watermark the last does not count: kubelet would evict pods instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from api.digest import Digest
from api.errors import InUse
from cache.store import Store
from cache.store.capacity import Amount, Stored, plan_eviction
from cache.store.holdings import holdings
from daemonset.pulling.desired import Desired

IDLE_S = 3600.0  # leftovers that are younger may be what the next try of a pull goes on with

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Made:
    """What went, and what is missing all the same; then no tree went, and ``kept`` says what holds the rest."""

    removed: frozenset[Digest]
    freed: int
    missing: Amount
    kept: tuple[Stored, ...]


def hold(wishes: Iterable[Desired], *, mounts_known: bool, below: int | None) -> str:
    """Why a tree that these entries of the node's list name has to stay; empty when it may go.

    ``below`` is the priority of the pull that needs the room, None where the disk itself does.
    """
    present = [wish for wish in wishes if not wish.absent]
    if not mounts_known:
        return "kept until the CSI driver tells what is mounted"
    if any(wish.pinned for wish in present):
        return "pinned"
    if any(wish.groups for wish in present):
        return "planned for a group"
    if below is not None and any(wish.priority >= below for wish in present):
        return "wanted with no lower priority"
    return ""


def make_room(store: Store, need: Amount, *, hold: Callable[[Digest], str], priority: Callable[[Digest], int]) -> Made:
    """Leftovers first, then trees by the plan. Blocks for as long as the disk takes. Raises DiskError."""
    freed = store.trim(idle_s=IDLE_S)
    plan = plan_eviction(holdings(store, hold=hold, priority=priority), need.less(Amount(freed, 0)))
    removed = set()
    for step in plan.steps:
        try:
            freed += store.remove_tree(step.stored.tree)
        except InUse:
            continue  # mounted since we looked
        removed.add(step.stored.tree)
        log.info("tree.evicted", tree=str(step.stored.tree), bytes_freed=step.frees.bytes)
    return Made(frozenset(removed), freed, plan.missing, plan.kept)
