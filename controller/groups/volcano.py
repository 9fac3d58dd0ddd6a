"""Volcano: jobs (batch.volcano.sh/v1alpha1), and any pods that name a PodGroup (scheduling.volcano.sh/v1beta1).

A Volcano Job's pods are one group of all its tasks. Other pods count as one where the PodGroup asks for two at least:
Volcano makes a PodGroup of one for every ReplicaSet it schedules.
"""

from __future__ import annotations

from controller.groups import gang
from controller.groups.member import GroupMember, Part, Subject, whole_number
from controller.groups.owner import Owner
from controller.groups.parts import asking, total

_NAMES = ("scheduling.k8s.io/group-name", "scheduling.volcano.sh/group-name")


def reference(subject: Subject) -> gang.GangReference | None:
    name = _name(subject)
    return gang.GangReference(("scheduling.volcano.sh/v1beta1",), "PodGroup", name) if name else None


def resolve(subject: Subject) -> GroupMember | None:
    index = whole_number(subject.labels.get("volcano.sh/task-index"), least=0)
    job = subject.controller("Job", group="batch.volcano.sh")
    if job is not None:
        return _job(subject, job, index=index)
    name, found = _name(subject), subject.gang
    if not name or found is None or not found.is_a("PodGroup", group="scheduling.volcano.sh"):
        return None
    return gang.member(subject, system="volcano", name=name, least=int(found.spec.get("minMember", 0)), index=index)


def _job(subject: Subject, job: Owner, *, index: int | None) -> GroupMember:
    tasks = job.spec.get("tasks") or ()
    parts = asking(Part(t.get("name", ""), int(t.get("replicas", 1)), t.get("template") or {}) for t in tasks)
    role = subject.annotations.get("volcano.sh/task-spec", "")
    return GroupMember(
        system="volcano",
        namespace=subject.namespace,
        key=job.name,
        name=job.name,
        size=total(parts),
        index=index,
        leader=index == 0 and (not tasks or role == tasks[0].get("name")),
        incarnation=job.uid,
        role=role,
        parts=parts,
    )


def _name(subject: Subject) -> str:
    return next((subject.annotations[name] for name in _NAMES if subject.annotations.get(name)), "")
