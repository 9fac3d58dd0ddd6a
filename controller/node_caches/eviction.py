"""What a node would have to evict for a plan, told from its NodeCache. An outlook: the agent decides when it must.

The agent also knows what is mounted, how much trees share, and when each was used last; from outside, models that
nobody wants any more come first, then wanted ones of a lower priority that no group holds and nobody pins.
"""

from __future__ import annotations

from dataclasses import dataclass

from api.resources import NodeCache, NodeModel, NodeModelStatus


@dataclass(frozen=True, slots=True)
class Room:
    """``evicted``: hashes of the models that would go, of ``evict_bytes`` together; ``missing_bytes`` is what even
    that would leave too little."""

    evicted: tuple[str, ...] = ()
    evict_bytes: int = 0
    missing_bytes: int = 0


def room(cache: NodeCache | None, need_bytes: int, *, keep: frozenset[tuple[str, str]], priority: int) -> Room:
    """For ``need_bytes`` more at ``priority``; ``keep`` are hash and revision of what is to be warm."""
    if cache is None or not cache.status.capacity:
        return Room()
    short = need_bytes - (cache.status.capacity - cache.status.used - cache.status.reserved)
    wanted = {(entry.model, entry.revision): entry for entry in cache.spec.models if entry.desired == "Present"}
    there = [s for s in cache.status.models if s.state == "Ready" and (s.model, s.revision) not in keep]
    going: list[NodeModelStatus] = []
    for status in sorted(there, key=lambda s: _worth(wanted.get((s.model, s.revision)), s)):
        if short <= sum(s.bytes_total for s in going):
            break
        if _may_go(wanted.get((status.model, status.revision)), priority=priority):
            going.append(status)
    freed = sum(s.bytes_total for s in going)
    return Room(tuple(s.model for s in going), freed, max(0, short - freed))


def _may_go(entry: NodeModel | None, *, priority: int) -> bool:
    return entry is None or not (entry.pinned or entry.groups or entry.priority >= priority)


def _worth(entry: NodeModel | None, status: NodeModelStatus) -> tuple[bool, int, int]:
    return entry is not None, entry.priority if entry is not None else 0, -status.bytes_total
