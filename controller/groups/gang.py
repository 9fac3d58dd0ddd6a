"""Gangs: pods that a scheduler places all at once, named by a PodGroup of whatever scheduler.

A gang of one is none: Volcano and KAI make a PodGroup for every pod or ReplicaSet they see, and such pods start on
their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.groups.member import GroupMember, Subject
from controller.groups.workloads import declared


@dataclass(frozen=True, slots=True)
class GangReference:
    """The object to read: of the first of ``api_versions`` that has it."""

    api_versions: tuple[str, ...]
    kind: str
    name: str


def member(
    subject: Subject, *, system: str, name: str, least: int, index: int | None = None, topology_key: str = ""
) -> GroupMember | None:
    """``least`` is the gang's minimum; the workload that makes the pods may declare more."""
    if least < 2:
        return None
    return GroupMember(
        system=system,
        namespace=subject.namespace,
        key=name,
        name=name,
        size=max(least, declared(subject) or 0),
        index=index,
        leader=index == 0,
        incarnation=subject.gang.uid if subject.gang else "",
        topology_key=topology_key,
    )
