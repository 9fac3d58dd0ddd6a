"""What namespaces may have of each node's cache: an administrator's table, kept before a NodeCache is written. Pure.

A namespace is charged for what it asks for, whoever owns the Model. What a pod on the node mounts goes first, then what
the node was told to hold already, so that a newcomer is refused and nobody loses what he has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from controller.config import Quota
from controller.models.wanted import Problem, Wanted
from controller.node_caches.desires import Desire

UNLIMITED = Quota()
ANY = "*"  # namespaces that the table does not name
EXCEEDED = "QuotaExceeded"


def quota_of(namespace: str, quotas: Mapping[str, Quota]) -> Quota:
    return quotas.get(namespace, quotas.get(ANY, UNLIMITED))


def too_large(namespace: str, wanted: Iterable[Wanted], quotas: Mapping[str, Quota]) -> Problem | None:
    """Why this can be on no node at all."""
    limit = quota_of(namespace, quotas).limit
    size = sum({(one.hash, one.revision): one.bytes for one in wanted}.values())
    if limit is None or size <= limit:
        return None
    return Problem(EXCEEDED, f"{size} bytes of models; namespace {namespace} may have {limit} on a node")


def admit(
    desires: Iterable[Desire], quotas: Mapping[str, Quota], *, present: Collection[tuple[str, str]]
) -> tuple[list[Desire], list[Desire]]:
    """Those that the quotas allow, pins and priorities cut down to what is allowed, and those that they do not.

    ``present``: hash and revision of what the node is told to hold now.
    """
    kept: list[Desire] = []
    refused: list[Desire] = []
    taken: dict[str, dict[tuple[str, str], int]] = {}
    for desire in sorted(desires, key=lambda d: _turn(d, present)):
        quota, wanted = quota_of(desire.namespace, quotas), desire.wanted
        after = taken.get(desire.namespace, {}) | {(wanted.hash, wanted.revision): wanted.bytes}
        if quota.limit is not None and sum(after.values()) > quota.limit:
            refused.append(desire)
            continue
        taken[desire.namespace] = after
        priority = min(desire.priority, quota.highest_priority)
        kept.append(replace(desire, priority=priority, pinned=desire.pinned and quota.may_pin))
    return kept, refused


def _turn(desire: Desire, present: Collection[tuple[str, str]]) -> tuple[bool, bool, int, str, Wanted]:
    there = (desire.wanted.hash, desire.wanted.revision) in present
    return not desire.mounted, not there, -desire.priority, desire.group, desire.wanted
