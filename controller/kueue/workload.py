"""A Workload of Kueue, reduced to what we read of it: where its pods are assigned, and which checks it waits for.

``topologyAssignment`` is written when quota is reserved, long before a pod may start, and again when Kueue replaces a
node that has failed. v1beta2 packs it: per slice, one list of values a level, each with common prefix and suffix taken
off or said once for all; v1beta1 lists the domains one by one (apis/kueue/v1beta2/workload_types.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from api import keys

GROUP = "kueue.x-k8s.io"
CONTROLLER = "warmset.dev/weights"  # spec.controllerName of the AdmissionChecks that are ours
MOST_PODS = 100_000  # of one assignment: the API's own bound on the domains of a slice


@dataclass(frozen=True, slots=True)
class Place:
    """``pods`` of the pod set go to nodes with these labels."""

    labels: Mapping[str, str]
    pods: int


@dataclass(frozen=True, slots=True)
class PodSet:
    """``places`` in rank order; None where Kueue has not assigned any. ``annotations`` are ours on its template, and
    ``pull_secrets`` its imagePullSecrets."""

    name: str
    count: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    places: tuple[Place, ...] | None = None
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """``checks``: state by name. ``reserved_at``: when its quota was reserved, RFC 3339, or ''."""

    namespace: str
    name: str
    uid: str
    api_version: str
    pod_sets: tuple[PodSet, ...]
    checks: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)  # of the checks
    reserved_at: str = ""
    finished: bool = False


@dataclass(frozen=True, slots=True)
class AdmissionCheck:
    """One of ours, at the API's ``version``. ``ready``: Kueue knows that it is answered."""

    version: str
    ready: bool


def parse(obj: Mapping[str, Any]) -> Workload:
    """Raises ValueError, LookupError, TypeError or AttributeError where it is not as its API says."""
    meta, status = obj["metadata"], obj.get("status") or {}
    assigned = {a["name"]: a for a in (status.get("admission") or {}).get("podSetAssignments") or ()}
    conditions = {c["type"]: c for c in status.get("conditions") or () if c["status"] == "True"}
    checks = status.get("admissionChecks") or ()
    return Workload(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        api_version=obj["apiVersion"],
        pod_sets=tuple(_pod_set(p, assigned.get(p.get("name", "main"))) for p in obj["spec"]["podSets"]),
        checks={check["name"]: check["state"] for check in checks},
        messages={check["name"]: check.get("message", "") for check in checks},
        reserved_at=conditions["QuotaReserved"]["lastTransitionTime"] if "QuotaReserved" in conditions else "",
        finished="Finished" in conditions,
    )


def admission_check(obj: Mapping[str, Any]) -> AdmissionCheck | None:
    """None where another controller answers it."""
    if (obj.get("spec") or {}).get("controllerName") != CONTROLLER:
        return None
    conditions = (obj.get("status") or {}).get("conditions") or ()
    ready = any(c.get("type") == "Active" and c.get("status") == "True" for c in conditions)
    return AdmissionCheck(version=str(obj["apiVersion"]).rpartition("/")[2], ready=ready)


def workload_name(pod: Mapping[str, Any]) -> str:
    """The Workload that the pod belongs to, or ''."""
    labels = pod["metadata"].get("labels") or {}
    annotations = pod["metadata"].get("annotations") or {}
    for name in ("workload", "prebuilt-workload-name", "pod-group-name"):
        found = annotations.get(f"{GROUP}/{name}") or labels.get(f"{GROUP}/{name}")
        if found:
            return str(found)
    return ""


def pod_set_name(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(f"{GROUP}/podset", ""))


def _pod_set(spec: Mapping[str, Any], assigned: Mapping[str, Any] | None) -> PodSet:
    template = spec.get("template") or {}
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    secrets = (template.get("spec") or {}).get("imagePullSecrets") or ()
    assignment = (assigned or {}).get("topologyAssignment")
    return PodSet(
        name=spec.get("name", "main"),
        count=int(spec["count"]),
        annotations={name: value for name, value in annotations.items() if name.startswith(f"{keys.DOMAIN}/")},
        places=None if assignment is None else tuple(_places(assignment)),
        pull_secrets=tuple(secret["name"] for secret in secrets),
    )


def _places(assignment: Mapping[str, Any]) -> Iterator[Place]:
    levels = assignment["levels"]
    for domain in assignment.get("domains") or ():  # v1beta1
        yield Place(dict(zip(levels, domain["values"], strict=True)), int(domain["count"]))
    for part in assignment.get("slices") or ():
        count = int(part["domainCount"])
        if not 0 < count <= MOST_PODS:
            raise ValueError(f"a slice of {count} domains")
        columns = [_values(values, count) for values in part["valuesPerLevel"]]
        pods = part.get("podCounts") or [part["universalPodCount"]] * count
        for values, number in zip(zip(*columns, strict=True), pods, strict=True):
            yield Place(dict(zip(levels, values, strict=True)), int(number))


def _values(values: Mapping[str, Any], count: int) -> list[str]:
    if "universalValue" in values:
        return [values["universalValue"]] * count
    prefix, suffix = values.get("prefix") or "", values.get("suffix") or ""
    return [f"{prefix}{root}{suffix}" for root in values["roots"]]
