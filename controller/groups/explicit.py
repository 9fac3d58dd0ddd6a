"""Groups that the user names himself: the way out for any workload API that we do not know.

``warmset.dev/group`` names the group within the namespace, ``warmset.dev/group-size`` says how many pods it has,
``warmset.dev/worker-index`` which one this is (0 leads). The group has no incarnation: it keeps its nodes, which
are warm, when its pods are made anew.
"""

from __future__ import annotations

from api import keys
from controller.groups.member import GroupMember, Subject, whole_number


def resolve(subject: Subject) -> GroupMember | None:
    name = subject.annotations.get(keys.GROUP)
    if not name:
        return None
    index = whole_number(subject.annotations.get(keys.WORKER_INDEX), least=0)
    return GroupMember(
        system="annotation",
        namespace=subject.namespace,
        key=name,
        name=name,
        size=whole_number(subject.annotations.get(keys.GROUP_SIZE), least=1) or 1,
        index=index,
        leader=index == 0,
    )
