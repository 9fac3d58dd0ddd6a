"""Kaito (kaito.sh/v1beta1): a Workspace's pods are those of one StatefulSet, which is Parallel; pod 0 leads.

Its preset pods carry none of the Workspace's annotations (admission/inherited.py).
"""

from __future__ import annotations

from controller.groups import single
from controller.groups.member import GroupMember, Subject
from controller.groups.workloads import stateful_set


def resolve(subject: Subject) -> GroupMember | None:
    if "kaito.sh/workspace" not in subject.labels:
        return None
    owner = subject.controller("StatefulSet", group="apps")
    return single.member(subject, system="kaito") if owner is None else stateful_set(subject, owner, system="kaito")
