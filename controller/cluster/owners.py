"""The objects above a pod, read from the API server: its chain of controllers, and the PodGroup that it names.

An owner that we may not read, that is gone, or of a kind that the table does not know ends the chain: its own
reference still names it. What was read is remembered for a moment, because a group's pods share their owners, and no
longer, because sizes change.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.resources import WorkloadPlacement
from controller.groups import Owner, gang_reference
from controller.groups.owner import of_object, of_reference
from controller.groups.podgroup import COMPOSITES, PARENT
from controller.groups.templates import Expected, expected, teller, tells
from kube.client import ApiError, Client
from kube.resources import POD, Resource

MOST_STEPS = 8  # a worker of an LLMInferenceService has six; a longer chain is somebody's loop
MOST_COMPOSITES = 4  # as many levels as a Workload may nest (KEP-6012)
MOST_REMEMBERED = 20_000
FRESH_S = 30.0
FRESH_TEMPLATE_S = 5.0  # many changes at once ask for one workload; a rollout is noticed no later

# Every kind that stands between a pod and the object its user wrote. The chart grants `get` on each.
KINDS = {
    (resource.api_version, resource.kind): resource
    for resource in (
        POD,
        Resource("apps", "v1", "daemonsets", "DaemonSet"),
        Resource("apps", "v1", "deployments", "Deployment"),
        Resource("apps", "v1", "replicasets", "ReplicaSet"),
        Resource("apps", "v1", "statefulsets", "StatefulSet"),
        Resource("batch", "v1", "cronjobs", "CronJob"),
        Resource("batch", "v1", "jobs", "Job"),
        Resource("batch.volcano.sh", "v1alpha1", "jobs", "Job"),
        Resource("disaggregatedset.x-k8s.io", "v1", "disaggregatedsets", "DisaggregatedSet"),
        Resource("grove.io", "v1alpha1", "podcliques", "PodClique"),
        Resource("grove.io", "v1alpha1", "podcliquescalinggroups", "PodCliqueScalingGroup"),
        Resource("grove.io", "v1alpha1", "podcliquesets", "PodCliqueSet"),
        Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet"),
        Resource("kaito.sh", "v1beta1", "workspaces", "Workspace"),
        Resource("kubeflow.org", "v2beta1", "mpijobs", "MPIJob"),
        Resource("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet"),
        Resource("ray.io", "v1", "rayclusters", "RayCluster"),
        Resource("ray.io", "v1", "rayjobs", "RayJob"),
        Resource("ray.io", "v1", "rayservices", "RayService"),
        Resource("scheduler.grove.io", "v1alpha1", "podgangs", "PodGang"),
        Resource("scheduling.k8s.io", "v1alpha3", "compositepodgroups", "CompositePodGroup"),
        Resource("scheduling.k8s.io", "v1beta1", "compositepodgroups", "CompositePodGroup"),
        Resource("scheduling.k8s.io", "v1alpha2", "podgroups", "PodGroup"),
        Resource("scheduling.k8s.io", "v1alpha3", "podgroups", "PodGroup"),
        Resource("scheduling.k8s.io", "v1beta1", "podgroups", "PodGroup"),
        Resource("scheduling.run.ai", "v2alpha2", "podgroups", "PodGroup"),
        Resource("scheduling.volcano.sh", "v1beta1", "podgroups", "PodGroup"),
        Resource("serving.knative.dev", "v1", "configurations", "Configuration"),
        Resource("serving.knative.dev", "v1", "revisions", "Revision"),
        Resource("serving.knative.dev", "v1", "services", "Service"),
        Resource("serving.kserve.io", "v1alpha2", "llminferenceservices", "LLMInferenceService"),
        Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService"),
        Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob"),
    )
}


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What was read, the reference to what stands above it, and when (monotonic seconds)."""

    owner: Owner | None
    above: Mapping[str, Any] | None
    read_at: float


class Owners:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, ...], _Remembered] = {}
        self._expected: dict[tuple[str, ...], tuple[tuple[Expected, ...], float]] = {}

    async def chain(self, pod: dict[str, Any], *, namespace: str = "") -> tuple[Owner, ...]:
        """The pod's controllers, nearest first; ``namespace`` stands in at admission, where the pod has none.

        Raises ApiError or ClusterUnavailable when the server cannot answer now.
        """
        found: list[Owner] = []
        where = pod["metadata"].get("namespace") or namespace
        reference: Mapping[str, Any] | None = controller_of(pod)
        while reference is not None and len(found) < MOST_STEPS:
            known = self._recall((reference["uid"],))
            if known is None:
                known = self._remember((reference["uid"],), await self._read(reference, where))
            if known.owner is None:
                found.append(of_reference(reference))
                break
            found.append(known.owner)
            reference = known.above
        return tuple(found)

    async def gang(self, pod: dict[str, Any]) -> Owner | None:
        """The PodGroup that the pod names. Raises as ``chain``."""
        wanted = gang_reference(pod)
        if wanted is None:
            return None
        namespace = pod["metadata"]["namespace"]
        memory = (wanted.api_versions[0], namespace, wanted.name)
        known = self._recall(memory)
        if known is not None:
            return known.owner
        obj = await self._first(wanted.api_versions, wanted.kind, wanted.name, namespace)
        if obj is None:
            return None  # it may come after its pods, so that is not remembered
        await self._add_composites(obj, wanted.api_versions, namespace)
        return self._remember(memory, obj).owner

    async def expected(self, workload: WorkloadPlacement, *, namespace: str) -> tuple[Expected, ...]:
        """What kinds of group the workload will make; none where its own kind does not tell. Raises as ``chain``."""
        if not tells(workload.api_version, workload.kind):
            return ()
        workload = teller(workload)
        memory = (workload.api_version, workload.kind, namespace, workload.name)
        known = self._expected.get(memory)
        if known is not None and time.monotonic() - known[1] < FRESH_TEMPLATE_S:
            return known[0]
        resource = KINDS.get((workload.api_version, workload.kind))
        obj = None if resource is None else await self._get(resource, workload.name, namespace)
        if len(self._expected) >= MOST_REMEMBERED:
            self._expected.clear()
        found = () if obj is None else expected(obj)
        self._expected[memory] = found, time.monotonic()
        return found

    async def _add_composites(self, pod_group: dict[str, Any], versions: tuple[str, ...], namespace: str) -> None:
        """The CompositePodGroups above it, nearest first; of one that cannot be read only the name. Their version may
        be another than the PodGroup's, which leaves alpha before them."""
        above: list[dict[str, Any]] = []
        parent = (pod_group.get("spec") or {}).get(PARENT)
        while parent and len(above) < MOST_COMPOSITES:
            found = await self._first(versions, "CompositePodGroup", parent, namespace)
            spec = (found or {}).get("spec") or {}
            above.append({**spec, "name": parent})
            parent = spec.get(PARENT)
        if above:
            pod_group["spec"][COMPOSITES] = above

    async def _read(self, reference: Mapping[str, Any], namespace: str) -> dict[str, Any] | None:
        resource = KINDS.get((reference["apiVersion"], reference["kind"]))
        found = None if resource is None else await self._get(resource, reference["name"], namespace)
        return found if found is not None and found["metadata"]["uid"] == reference["uid"] else None

    async def _first(self, versions: tuple[str, ...], kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """The object in the first of the versions that has it."""
        for version in versions:
            resource = KINDS.get((version, kind))
            found = None if resource is None else await self._get(resource, name, namespace)
            if found is not None:
                return found
        return None

    async def _get(self, resource: Resource, name: str, namespace: str) -> dict[str, Any] | None:
        try:
            return await self._client.get(resource, name, namespace=namespace)
        except ApiError as error:
            if error.status in (403, 404):
                return None
            raise

    def _recall(self, memory: tuple[str, ...]) -> _Remembered | None:
        known = self._known.get(memory)
        return known if known is not None and time.monotonic() - known.read_at < FRESH_S else None

    def _remember(self, memory: tuple[str, ...], obj: dict[str, Any] | None) -> _Remembered:
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        known = _Remembered(
            owner=None if obj is None else of_object(obj),
            above=None if obj is None else controller_of(obj),
            read_at=time.monotonic(),
        )
        self._known[memory] = known
        return known


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    references: list[dict[str, Any]] = obj["metadata"].get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), None)


def top(pod: dict[str, Any], chain: tuple[Owner, ...]) -> Owner:
    """The workload that the pod belongs to; a pod without a controller is its own."""
    if chain:
        return chain[-1]
    meta = pod["metadata"]
    return Owner(api_version="v1", kind="Pod", name=meta["name"], uid=meta["uid"])
