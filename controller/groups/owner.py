"""What the resolvers know of the objects above a pod: identity, annotations, and the few fields that tell a size.

An owner's object is reduced to these when it is read, so that thousands of them can be remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from api import keys
from api.errors import InvalidRequest
from controller.objects import durations

DEPLOYMENT_DEADLINE_S = 600  # apps/v1 default of progressDeadlineSeconds

# Fields of spec that a resolver reads, by API group and kind.
_READ: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "StatefulSet"): ("replicas", "podManagementPolicy"),
    ("apps", "ReplicaSet"): ("replicas",),
    ("apps", "Deployment"): ("replicas",),
    ("batch", "Job"): ("parallelism", "completions", "completionMode"),
    ("batch.volcano.sh", "Job"): ("tasks",),
    ("grove.io", "PodClique"): ("replicas",),
    ("grove.io", "PodCliqueSet"): ("template",),
    ("kubeflow.org", "MPIJob"): ("mpiReplicaSpecs", "launcherCreationPolicy"),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): ("leaderWorkerTemplate",),
    ("ray.io", "RayCluster"): ("enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"),
    ("scheduling.k8s.io", "PodGroup"): ("schedulingPolicy", "schedulingConstraints", "compositesAbove"),
    ("scheduler.grove.io", "PodGang"): ("podgroups", "topologyConstraint", "topologyConstraintGroupConfigs"),
    ("scheduling.run.ai", "PodGroup"): ("minMember",),
    ("scheduling.volcano.sh", "PodGroup"): ("minMember",),
}
# Kinds whose activeDeadlineSeconds runs while their pods are held.
_ACTIVE = (("Job", "batch"), ("MPIJob", "kubeflow.org"), ("RayJob", "ray.io"), ("TrainJob", "trainer.kubeflow.org"))
# Of a pod template: what its place and its size depend on.
_OF_POD_SPECS = ("affinity", "nodeSelector", "overhead", "schedulerName", "tolerations")
_OF_CONTAINERS = ("name", "resources", "restartPolicy")


@dataclass(frozen=True, slots=True)
class Owner:
    """One step of a pod's controller chain, or the gang object that it names.

    ``deadline_s``: how long it waits for its pods, where known. ``finished``: pods of a Job that have succeeded, in
    whose place none is made. ``annotations`` are ours alone; ``spec`` has the fields that resolvers read, and is
    empty where the object could not be read.
    """

    api_version: str
    kind: str
    name: str
    uid: str
    deadline_s: int | None = None
    finished: int = 0
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    spec: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def is_a(self, kind: str, *, group: str) -> bool:
        return self.kind == kind and self.api_version.rpartition("/")[0] == group


def of_reference(reference: Mapping[str, Any]) -> Owner:
    """All that an ownerReference tells by itself."""
    return Owner(
        api_version=reference["apiVersion"], kind=reference["kind"], name=reference["name"], uid=reference["uid"]
    )


def of_object(obj: Mapping[str, Any]) -> Owner:
    """An object as the API server returns it."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    owner = Owner(api_version=obj["apiVersion"], kind=obj["kind"], name=meta["name"], uid=meta["uid"])
    read = _READ.get((owner.api_version.rpartition("/")[0], owner.kind), ())
    annotations = meta.get("annotations") or {}
    return replace(
        owner,
        deadline_s=_deadline_s(owner, spec, annotations),
        finished=int((obj.get("status") or {}).get("succeeded", 0)) if owner.is_a("Job", group="batch") else 0,
        annotations={name: value for name, value in annotations.items() if name.startswith(f"{keys.DOMAIN}/")},
        spec={name: _trim(spec[name]) for name in read if name in spec},
    )


def _trim(value: Any) -> Any:
    if isinstance(value, list):
        return [_trim(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("containers"), list):
        kept = {name: value[name] for name in _OF_POD_SPECS if name in value}
        for which in ("containers", "initContainers"):
            if isinstance(value.get(which), list):
                kept[which] = [_container(container) for container in value[which]]
        return kept
    return {name: _trim(item) for name, item in value.items()}


def _container(value: Any) -> Any:
    return {name: value[name] for name in _OF_CONTAINERS if name in value} if isinstance(value, dict) else value


def _deadline_s(owner: Owner, spec: Mapping[str, Any], annotations: Mapping[str, str]) -> int | None:
    """How long the owner waits for its pods before it calls itself failed."""
    if owner.is_a("Deployment", group="apps"):  # Knative's too: it copies its progress-deadline there
        return int(spec.get("progressDeadlineSeconds", DEPLOYMENT_DEADLINE_S))
    for kind, group in _ACTIVE:
        where = (spec.get("runPolicy") or {}) if kind == "MPIJob" else spec
        if owner.is_a(kind, group=group) and isinstance(where.get("activeDeadlineSeconds"), int):
            return int(where["activeDeadlineSeconds"])
    if owner.is_a("RayService", group="ray.io"):
        with suppress(InvalidRequest):
            return durations.seconds(annotations.get("ray.io/initializing-timeout", ""))
    return None
