"""The groups that a workload will make, read from its own object before any pod exists.

Table-driven: where each kind keeps its pod templates, how many pods of each make a group, and how many groups it asks
for. A kind that is not here makes no promise beforehand; its pods are planned when they come. A workload may make
several kinds of group, such as one for prefill and one for decode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from api import keys
from api.resources import WorkloadPlacement
from controller.groups.grove import clique_part
from controller.groups.jobset import INITIALIZERS
from controller.groups.member import Part, whole_number
from controller.groups.parts import asking, asks, total
from controller.objects.pods import Pod

Spec = Mapping[str, Any]

_LWS_TOPOLOGY = "leaderworkerset.sigs.k8s.io/exclusive-topology"
_ALIKE = "all"  # role where a group has only one


@dataclass(frozen=True, slots=True)
class Expected:
    """``groups`` alike, each of ``parts``, within one domain of ``topology_key`` where given. ``kind`` names them, as
    their pods' GroupMember does, where the workload makes others beside.

    ``in_place``: a new revision's pods come where old ones were deleted; else beside them.
    ``suspended``: it makes its pods when somebody lets it. ``keep_warm``: groups to be warm while it has fewer.
    """

    parts: tuple[Part, ...]
    groups: int
    topology_key: str = ""
    in_place: bool = False
    suspended: bool = False
    keep_warm: int = 0
    kind: str = ""

    @property
    def pods(self) -> tuple[Pod, ...]:
        """One stand-in of each part."""
        return tuple(_pod(part) for part in self.parts)

    @property
    def group(self) -> tuple[Pod, ...]:
        """Stand-ins for every pod of one group."""
        return tuple(pod for part in self.parts for pod in [_pod(part)] * part.count)

    @property
    def size(self) -> int:
        return total(self.parts)


def tells(api_version: str, kind: str) -> bool:
    """Whether objects of this kind say beforehand what groups they will make, or one made of them does."""
    return (api_version.rpartition("/")[0], kind) in _READERS.keys() | _MADE_OF.keys()


def teller(workload: WorkloadPlacement) -> WorkloadPlacement:
    """The object that has the workload's templates: itself, or one by its name that is made of it."""
    made = _MADE_OF.get((workload.api_version.rpartition("/")[0], workload.kind))
    return workload if made is None else WorkloadPlacement(api_version=made[0], kind=made[1], name=workload.name)


def expected(obj: Mapping[str, Any]) -> tuple[Expected, ...]:
    """The kinds of group that ``obj`` will make, of those that ask for weights, or all where none does; empty where
    its own kind does not tell, or it is not as its API says."""
    read = _READERS.get((obj["apiVersion"].rpartition("/")[0], obj["kind"]))
    if read is None:
        return ()
    try:
        annotations = obj["metadata"].get("annotations") or {}
        keep_warm = whole_number(annotations.get(keys.KEEP_WARM_GROUPS), least=0) or 0
        made = read(obj)
        made = made if isinstance(made, tuple) else (made,)
        made = tuple(kind for kind in made if any(map(asks, kind.parts))) or made
        return tuple(replace(kind, parts=asking(kind.parts), keep_warm=keep_warm) for kind in made)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return ()  # of somebody else's API, and written by whoever


def _pod(part: Part) -> Pod:
    return {"metadata": dict(part.template.get("metadata") or {}), "spec": dict(part.template["spec"])}


def _single(spec: Spec, *, in_place: bool) -> Expected:
    return Expected((Part(_ALIKE, 1, spec["template"]),), int(spec.get("replicas", 1)), in_place=in_place)


def _deployment(obj: Mapping[str, Any]) -> Expected:
    recreates = (obj["spec"].get("strategy") or {}).get("type") == "Recreate"
    return _single(obj["spec"], in_place=recreates)


def _stateful_set(obj: Mapping[str, Any]) -> Expected:
    return _single(obj["spec"], in_place=True)


def _lws(obj: Mapping[str, Any]) -> Expected:
    level = (obj["metadata"].get("annotations") or {}).get(_LWS_TOPOLOGY, "")
    return _replicas_of(obj["spec"], level)


def _replicas_of(spec: Spec, level: str) -> Expected:
    template = spec["leaderWorkerTemplate"]
    workers = template["workerTemplate"]
    parts = (
        Part("leader", 1, template.get("leaderTemplate") or workers),
        Part("worker", int(template.get("size", 1)) - 1, workers),
    )
    surge = ((spec.get("rolloutStrategy") or {}).get("rollingUpdateConfiguration") or {}).get("maxSurge") or 0
    return Expected(parts, int(spec.get("replicas", 1)), level, in_place=surge in (0, "0", "0%"))


def _disaggregated_set(obj: Mapping[str, Any]) -> tuple[Expected, ...]:
    """A LeaderWorkerSet for each role and slice; a new revision's stand beside the old ones."""
    slices = int(obj["spec"].get("slices", 1))
    roles = ((role["name"], role["spec"], role.get("metadata") or {}) for role in obj["spec"]["roles"])
    found = (
        (name, _replicas_of(spec, (meta.get("annotations") or {}).get(_LWS_TOPOLOGY, ""))) for name, spec, meta in roles
    )
    return tuple(replace(role, groups=role.groups * slices, in_place=False, kind=name) for name, role in found)


def _pod_clique_set(obj: Mapping[str, Any]) -> tuple[Expected, ...]:
    """A kind for each scaling group, one for each clique outside any. Replaced in place, one replica at a time."""
    replicas, template = int(obj["spec"].get("replicas", 1)), obj["spec"]["template"]
    parts = {clique["name"]: clique_part(clique) for clique in template["cliques"]}
    scaled = {group["name"]: group for group in template.get("podCliqueScalingGroups") or ()}
    inside = {name for group in scaled.values() for name in group["cliqueNames"]}
    kinds = {
        name: (tuple(parts[clique] for clique in group["cliqueNames"]), int(group.get("replicas", 1)))
        for name, group in scaled.items()
    } | {name: ((part,), 1) for name, part in parts.items() if name not in inside}
    return tuple(
        Expected(made_of, replicas * groups, in_place=True, kind=name) for name, (made_of, groups) in kinds.items()
    )


def _job(obj: Mapping[str, Any]) -> Expected:
    spec = obj["spec"]
    pods = min(int(spec.get("parallelism", 1)), int(spec.get("completions") or spec.get("parallelism", 1)))
    return Expected((Part(_ALIKE, pods, spec["template"]),), 1, suspended=bool(spec.get("suspend")))


def _job_set(obj: Mapping[str, Any]) -> Expected:
    spec = obj["spec"]
    parts = []
    for job in spec["replicatedJobs"]:
        if job["name"] in INITIALIZERS:
            continue  # a TrainJob's, which downloads by itself
        inner = job["template"]["spec"]
        parts.append(
            Part(job["name"], int(job.get("replicas", 1)) * int(inner.get("parallelism", 1)), inner["template"])
        )
    return Expected(tuple(parts), 1, suspended=bool(spec.get("suspend")))


def _mpi_job(obj: Mapping[str, Any]) -> Expected:
    spec = obj["spec"]
    parts = tuple(
        Part(role, int(replica.get("replicas", 1)), replica["template"])
        for role, replica in sorted(spec["mpiReplicaSpecs"].items())
    )
    return Expected(parts, 1, suspended=bool((spec.get("runPolicy") or {}).get("suspend")))


def _ray_cluster_spec(spec: Spec, *, suspended: bool) -> Expected:
    parts = [Part("head", 1, spec["headGroupSpec"]["template"])]
    for group in spec.get("workerGroupSpecs") or ():
        count = int(group.get("replicas", group.get("minReplicas", 0))) * int(group.get("numOfHosts", 1))
        parts.append(Part(group["groupName"], count, group["template"]))
    return Expected(tuple(parts), 1, suspended=suspended)


def _ray_cluster(obj: Mapping[str, Any]) -> Expected:
    return _ray_cluster_spec(obj["spec"], suspended=bool(obj["spec"].get("suspend")))


def _ray_service(obj: Mapping[str, Any]) -> Expected:
    return _ray_cluster_spec(obj["spec"]["rayClusterConfig"], suspended=False)


def _ray_job(obj: Mapping[str, Any]) -> Expected:
    return _ray_cluster_spec(obj["spec"]["rayClusterSpec"], suspended=bool(obj["spec"].get("suspend")))


def _knative(obj: Mapping[str, Any]) -> Expected:
    return Expected((Part(_ALIKE, 1, obj["spec"]["template"]),), 1)


# Kinds whose templates stand in an object of the same name that is made at once, of suspended ones too.
_MADE_OF = {("trainer.kubeflow.org", "TrainJob"): ("jobset.x-k8s.io/v1alpha2", "JobSet")}

_READERS: dict[tuple[str, str], Callable[[Mapping[str, Any]], Expected | tuple[Expected, ...]]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
    ("disaggregatedset.x-k8s.io", "DisaggregatedSet"): _disaggregated_set,
    ("grove.io", "PodCliqueSet"): _pod_clique_set,
    ("jobset.x-k8s.io", "JobSet"): _job_set,
    ("kubeflow.org", "MPIJob"): _mpi_job,
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): _lws,
    ("ray.io", "RayCluster"): _ray_cluster,
    ("ray.io", "RayJob"): _ray_job,
    ("ray.io", "RayService"): _ray_service,
    ("serving.knative.dev", "Service"): _knative,
}
