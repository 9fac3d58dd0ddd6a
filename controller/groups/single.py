"""A pod that starts on its own: size 1. The last resolver, it always answers.

DaemonSet pods are among them: the DaemonSet controller pins each to its node by a required node affinity on
``metadata.name``, which the planner respects like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.groups.member import GroupMember, Owner


def resolve(pod: dict[str, Any], *, namespace: str, owners: Sequence[Owner]) -> GroupMember:
    meta = pod["metadata"]
    name = meta.get("name") or meta.get("generateName", "")
    return GroupMember(
        system="pod",
        namespace=namespace,
        key=name,
        name=name,
        size=1,
        index=0,
        leader=True,
        incarnation=meta.get("uid", ""),
    )
