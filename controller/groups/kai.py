"""KAI scheduler: its pod grouper names the pod's PodGroup (scheduling.run.ai/v2alpha2) by an annotation."""

from __future__ import annotations

from controller.groups import gang
from controller.groups.member import GroupMember, Subject

_NAME = "pod-group-name"


def reference(subject: Subject) -> gang.GangReference | None:
    name = subject.annotations.get(_NAME)
    return gang.GangReference(("scheduling.run.ai/v2alpha2",), "PodGroup", name) if name else None


def resolve(subject: Subject) -> GroupMember | None:
    name, found = subject.annotations.get(_NAME), subject.gang
    if not name or found is None or not found.is_a("PodGroup", group="scheduling.run.ai"):
        return None
    return gang.member(subject, system="kai", name=name, least=int(found.spec.get("minMember", 0)))
