"""A pod that starts on its own: size 1."""

from __future__ import annotations

from controller.groups.member import GroupMember, Subject


def member(subject: Subject, *, system: str, revision: str = "") -> GroupMember:
    name = subject.name or subject.pod["metadata"].get("generateName", "")
    return GroupMember(
        system=system,
        namespace=subject.namespace,
        key=name,
        name=name,
        size=1,
        index=0,
        leader=True,
        revision=revision,
        incarnation=subject.uid,
    )
