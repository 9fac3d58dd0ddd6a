"""The chain of controllers above a pod, nearest first, read from the API server and remembered by UID.

An owner that we may not read, that is gone, or of a kind that the table does not know ends the chain: its own
reference still names it. Asked of the API server at most once an owner, because a group's pods share theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.groups import Owner
from kube.client import ApiError, Client
from kube.resources import POD, Resource

MOST_STEPS = 8  # LeaderWorkerSet workers have five; a longer chain is somebody's loop
MOST_REMEMBERED = 20_000
DEPLOYMENT_DEADLINE_S = 600  # apps/v1 default of progressDeadlineSeconds

_APPS = ("apps", "v1")
_KINDS = {
    resource.kind: resource
    for resource in (
        POD,
        Resource(*_APPS, "statefulsets", "StatefulSet"),
        Resource(*_APPS, "replicasets", "ReplicaSet"),
        Resource(*_APPS, "deployments", "Deployment"),
        Resource(*_APPS, "daemonsets", "DaemonSet"),
        Resource("batch", "v1", "jobs", "Job"),
        Resource("batch", "v1", "cronjobs", "CronJob"),
        Resource("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet"),
    )
}


class Owners:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, tuple[Owner, dict[str, Any] | None]] = {}  # uid: owner, its own controller reference

    async def chain(self, pod: dict[str, Any]) -> tuple[Owner, ...]:
        """Raises ApiError or ClusterUnavailable when the server cannot answer now."""
        found: list[Owner] = []
        reference = controller_of(pod)
        while reference is not None and len(found) < MOST_STEPS:
            if reference["uid"] not in self._known:
                if len(self._known) >= MOST_REMEMBERED:
                    self._known.clear()
                self._known[reference["uid"]] = await self._read(reference, pod["metadata"]["namespace"])
            owner, reference = self._known[reference["uid"]]
            found.append(owner)
        return tuple(found)

    async def _read(self, reference: Mapping[str, Any], namespace: str) -> tuple[Owner, dict[str, Any] | None]:
        bare = _owner(reference, deadline_s=None)
        resource = _KINDS.get(reference["kind"])
        if resource is None or resource.api_version != reference["apiVersion"]:
            return bare, None
        try:
            found = await self._client.get(resource, reference["name"], namespace=namespace)
        except ApiError as error:
            if error.status in (403, 404):
                return bare, None
            raise
        if found["metadata"]["uid"] != reference["uid"]:
            return bare, None
        return _owner(reference, deadline_s=_deadline_s(reference["kind"], found)), controller_of(found)


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    references: list[dict[str, Any]] = obj["metadata"].get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), None)


def top(pod: dict[str, Any], chain: tuple[Owner, ...]) -> Owner:
    """The workload that the pod belongs to; a pod without a controller is its own."""
    if chain:
        return chain[-1]
    meta = pod["metadata"]
    return Owner(api_version="v1", kind="Pod", name=meta["name"], uid=meta["uid"])


def _owner(reference: Mapping[str, Any], *, deadline_s: int | None) -> Owner:
    return Owner(
        api_version=reference["apiVersion"],
        kind=reference["kind"],
        name=reference["name"],
        uid=reference["uid"],
        deadline_s=deadline_s,
    )


def _deadline_s(kind: str, obj: Mapping[str, Any]) -> int | None:
    """How long the owner waits for its pods before it calls itself failed."""
    spec = obj.get("spec") or {}
    if kind == "Deployment":
        return int(spec.get("progressDeadlineSeconds", DEPLOYMENT_DEADLINE_S))
    if kind == "Job" and "activeDeadlineSeconds" in spec:
        return int(spec["activeDeadlineSeconds"])
    return None
