"""Groups: which pods start and fail together. One small module per workload API, asked in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.groups import explicit, lws, single
from controller.groups.member import GroupMember, Owner

__all__ = ["GroupMember", "Owner", "resolve"]


def resolve(pod: dict[str, Any], *, namespace: str = "", owners: Sequence[Owner] = ()) -> GroupMember:
    """The group of ``pod``; the user's own annotations win, a pod nobody claims is a group of one.

    ``owners`` is the pod's controller chain, nearest first; it may be empty (at admission), and then the group's
    incarnation may be unknown. ``namespace`` stands in where the pod has none yet.
    """
    where = pod["metadata"].get("namespace") or namespace
    for ask in (explicit.resolve, lws.resolve):
        member = ask(pod, namespace=where, owners=owners)
        if member is not None:
            return member
    return single.resolve(pod, namespace=where, owners=owners)
