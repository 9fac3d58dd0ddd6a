"""Kubernetes' own PodGroup (scheduling.k8s.io), named by ``spec.schedulingGroup.podGroupName``.

A group where its policy is gang; ``minCount`` is a minimum, which a Job or StatefulSet may exceed. The scheduler asks
that minCount pods exist before it looks at any; gated ones count, so releasing them in one burst is enough.
``schedulingConstraints.topology`` is the level that the group asked for. Alpha in 1.36 (v1alpha2), v1alpha3 and
v1beta1 in 1.37 have the same fields where we look.
"""

from __future__ import annotations

from controller.groups import gang
from controller.groups.member import GroupMember, Subject

API_VERSIONS = ("scheduling.k8s.io/v1beta1", "scheduling.k8s.io/v1alpha3", "scheduling.k8s.io/v1alpha2")


def reference(subject: Subject) -> gang.GangReference | None:
    name = _name(subject)
    return gang.GangReference(API_VERSIONS, "PodGroup", name) if name else None


def resolve(subject: Subject) -> GroupMember | None:
    name, found = _name(subject), subject.gang
    if not name or found is None or not found.is_a("PodGroup", group="scheduling.k8s.io"):
        return None
    policy = (found.spec.get("schedulingPolicy") or {}).get("gang") or {}
    levels = (found.spec.get("schedulingConstraints") or {}).get("topology") or ()
    return gang.member(
        subject,
        system="podgroup",
        name=name,
        least=int(policy.get("minCount", 0)),
        topology_key=levels[0]["key"] if levels else "",
    )


def _name(subject: Subject) -> str:
    return str((subject.pod["spec"].get("schedulingGroup") or {}).get("podGroupName", ""))
