"""Grove (grove.io/v1alpha1): a replica of a PodCliqueScalingGroup, with all its cliques, is one group.

A clique outside any scaling group is a group by itself; Grove's scheduler binds the cliques of a PodGang together
anyway. Scaled gangs keep Grove's own gate until the base gang is scheduled, so neither may wait for the other here.
A PodClique's template hash differs from clique to clique and is no revision of the group.

The PodGang (scheduler.grove.io/v1alpha1) says within which topology its pods are to be packed, as node labels; where it
is required, the group is planned within one domain of that label, so that the nodes that are warmed are ones that
Grove's scheduler may choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.groups.gang import GangReference
from controller.groups.member import GroupMember, Part, Subject, whole_number
from controller.groups.owner import Owner
from controller.groups.parts import asking, total

_PREFIX = "grove.io/"
_PODS = "GROVE_PCSG_TEMPLATE_NUM_PODS"  # environment: pods in one replica of the scaling group


def reference(subject: Subject) -> GangReference | None:
    name = subject.labels.get(_PREFIX + "podgang")
    return GangReference(("scheduler.grove.io/v1alpha1",), "PodGang", name) if name else None


def resolve(subject: Subject) -> GroupMember | None:
    labels = subject.labels
    if _PREFIX + "podgang" not in labels:
        return None
    clique = subject.controller("PodClique", group="grove.io")
    top = subject.owner("PodCliqueSet", group="grove.io")
    index = whole_number(labels.get(_PREFIX + "podclique-pod-index"), least=0)
    scaling_group = labels.get(_PREFIX + "podcliquescalinggroup")
    replica = labels.get(_PREFIX + "podcliqueset-replica-index", "")
    within = f"{labels.get('app.kubernetes.io/part-of', '') if top is None else top.name}-{replica}-"  # begins names
    if scaling_group is None:
        name = labels.get(_PREFIX + "podclique", "")
        size = int(clique.spec.get("replicas", 1)) if clique is not None else 1
        return _member(
            subject, name, size=max(1, size), leader=index == 0, top=top, index=index, kind=name.removeprefix(within)
        )
    name = f"{scaling_group}-{labels.get(_PREFIX + 'podcliquescalinggroup-replica-index', '')}"
    kind = scaling_group.removeprefix(within)
    parts = _cliques(top, kind)
    role = labels.get(_PREFIX + "podclique", "").removeprefix(f"{name}-")
    first = parts[0].role == role if parts else False
    size = total(parts) if parts else _declared(subject) or 1
    return _member(subject, name, size=size, leader=first and index == 0, top=top, kind=kind, role=role, parts=parts)


def _member(
    subject: Subject,
    name: str,
    *,
    size: int,
    leader: bool,
    top: Owner | None,
    kind: str,
    index: int | None = None,
    role: str = "",
    parts: tuple[Part, ...] = (),
) -> GroupMember:
    return GroupMember(
        system="grove",
        namespace=subject.namespace,
        key=name,
        name=name,
        size=size,
        index=index,
        leader=leader,
        incarnation=top.uid if top is not None else "",
        topology_key=_packed_within(subject),
        kind=kind,
        role=role,
        parts=parts,
    )


def _packed_within(subject: Subject) -> str:
    """The narrowest label that is required of the pod's clique: its own, its scaling group's, or the whole gang's."""
    spec = subject.gang.spec if subject.gang is not None else {}
    clique = subject.labels.get(_PREFIX + "podclique", "")
    own = [group for group in spec.get("podgroups") or () if group.get("name") == clique]
    shared = [c for c in spec.get("topologyConstraintGroupConfigs") or () if clique in (c.get("podGroupNames") or ())]
    candidates = [*shared, spec] if _PREFIX + "podcliquescalinggroup" in subject.labels else [*own, *shared, spec]
    for holder in candidates:
        pack = (holder.get("topologyConstraint") or {}).get("packConstraint") or {}
        if pack.get("required"):
            return str(pack["required"])
    return ""


def _cliques(top: Owner | None, scaling_group: str) -> tuple[Part, ...]:
    """The scaling group's cliques, as the PodCliqueSet's template has them."""
    template: Mapping[str, Any] = (top.spec.get("template") or {}) if top is not None else {}
    groups = template.get("podCliqueScalingGroups") or ()
    names = next((group.get("cliqueNames") or () for group in groups if group.get("name") == scaling_group), ())
    cliques = {clique["name"]: clique for clique in template.get("cliques") or ()}
    return asking(clique_part(cliques[name]) for name in names if name in cliques)


def clique_part(clique: Mapping[str, Any]) -> Part:
    spec = clique.get("spec") or {}
    template = {"metadata": {"annotations": clique.get("annotations") or {}}, "spec": spec.get("podSpec") or {}}
    return Part(clique["name"], int(spec.get("replicas", 1)), template)


def _declared(subject: Subject) -> int | None:
    variables = (v for c in subject.pod["spec"].get("containers") or () for v in c.get("env") or ())
    return next((whole_number(v.get("value"), least=1) for v in variables if v["name"] == _PODS), None)
