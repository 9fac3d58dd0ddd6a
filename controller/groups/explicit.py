"""Groups that the user names himself: the way out for any workload API that we do not know.

``warmset.dev/group`` names the group within the namespace, ``warmset.dev/group-size`` says how many pods it has,
``warmset.dev/worker-index`` which one this is (0 leads). The group has no incarnation: it keeps its nodes, which
are warm, when its pods are made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api import keys
from controller.groups.member import GroupMember, Owner, whole_number


def resolve(pod: dict[str, Any], *, namespace: str, owners: Sequence[Owner]) -> GroupMember | None:
    annotations = pod["metadata"].get("annotations") or {}
    name = annotations.get(keys.GROUP)
    if not name:
        return None
    index = whole_number(annotations.get(keys.WORKER_INDEX), least=0)
    return GroupMember(
        system="annotation",
        namespace=namespace,
        key=name,
        name=name,
        size=whole_number(annotations.get(keys.GROUP_SIZE), least=1) or 1,
        index=index,
        leader=index == 0,
    )
