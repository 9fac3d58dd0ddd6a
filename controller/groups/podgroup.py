"""Kubernetes' own PodGroup (scheduling.k8s.io), named by ``spec.schedulingGroup.podGroupName``.

A group where its policy is gang; ``minCount`` is a minimum, which a Job or StatefulSet may exceed. The scheduler asks
that minCount pods exist before it looks at any; gated ones count, so releasing them in one burst is enough.
``schedulingConstraints.topology`` is the level that the group asked for. Alpha in 1.36 (v1alpha2), v1alpha3 and
v1beta1 in 1.37 have the same fields where we look; whichever the cluster serves is read.

A PodGroup may be part of a CompositePodGroup, and that of another (1.37, alpha): gangs below the same topmost one
are parts of one whole, and each composite may have a level of its own that all below it stay within a domain of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controller.groups import gang
from controller.groups.member import GroupMember, Subject

PARENT = "parentCompositePodGroupName"
COMPOSITES = "compositesAbove"  # not the API's: put into a PodGroup's spec when it is read; each one's spec, and name
API_VERSIONS = ("scheduling.k8s.io/v1beta1", "scheduling.k8s.io/v1alpha3", "scheduling.k8s.io/v1alpha2")


def reference(subject: Subject) -> gang.GangReference | None:
    name = _name(subject)
    return gang.GangReference(API_VERSIONS, "PodGroup", name) if name else None


def resolve(subject: Subject) -> GroupMember | None:
    name, found = _name(subject), subject.gang
    if not name or found is None or not found.is_a("PodGroup", group="scheduling.k8s.io"):
        return None
    policy = (found.spec.get("schedulingPolicy") or {}).get("gang") or {}
    above = found.spec.get(COMPOSITES) or ()
    names = [(f"podgroup/{subject.namespace}/{one['name']}", _level(one)) for one in above]
    within = tuple((name, level) for name, level in names if level)
    member = gang.member(
        subject,
        system="podgroup",
        name=name,
        least=int(policy.get("minCount", 0)),
        topology_key=_level(found.spec) or next((level for _, level in within), ""),
    )
    return replace(member, whole=names[-1][0], within=within) if member is not None and names else member


def _level(spec: Mapping[str, Any]) -> str:
    levels = (spec.get("schedulingConstraints") or {}).get("topology") or ()
    return str(levels[0]["key"]) if levels else ""


def _name(subject: Subject) -> str:
    return str((subject.pod["spec"].get("schedulingGroup") or {}).get("podGroupName", ""))
