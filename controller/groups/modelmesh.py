"""ModelMesh: a runtime's pods serve on their own; it places models on them itself, so the runtime names ours."""

from __future__ import annotations

from controller.groups import single
from controller.groups.member import GroupMember, Subject


def resolve(subject: Subject) -> GroupMember | None:
    if "modelmesh-service" not in subject.labels:
        return None
    return single.member(subject, system="modelmesh", revision=subject.labels.get("pod-template-hash", ""))
