"""Plays the workload controllers on a real API server: makes owners, then pods in the order in which they make them.

Later pods are made only when the earlier ones are bound and Ready, which is the strictest that any of them asks for;
kubelet's part, the Ready condition, is played too, and that of schedulers other than Kubernetes' own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Self

from controller.cluster.owners import KINDS
from controller.groups.placer import DEFAULT
from controller.objects.pods import node
from kube.client import ApiError, Client, Object
from kube.resources import POD, Resource
from tests.support import crds
from tests.support.installation import eventually
from tests.support.workloads import Workloads

# What an owner gives its next pods once it sees where the earlier ones are, by (new pods, bound pods).
Late = Callable[[list[Object], list[Object]], None]


class OwnerControllers:
    """Makes one file's objects in ``namespace``; the UIDs of the file become those of the API server."""

    def __init__(self, client: Client, workloads: Workloads, *, namespace: str) -> None:
        self._client = client
        self._workloads = workloads
        self._namespace = namespace
        self._made: dict[str, Object] = {}  # by the UID in the file
        self._owners: list[tuple[Resource, str]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """The owners go; the pods are for the cluster's sweep."""
        for resource, name in self._owners:
            await self._client.delete(resource, name, namespace=self._namespace)
            with suppress(ApiError):  # a Job's orphans would be the garbage collector's work, and there is none
                await self._client.patch(resource, name, {"metadata": {"finalizers": None}}, namespace=self._namespace)

    async def make_pods(
        self, uids: Sequence[str], *, after: Sequence[str] = (), late: Late | None = None
    ) -> list[Object]:
        """The pods as created, with the owners above them and the PodGroups that they name; those of ``after`` are
        bound and Ready by then."""
        bodies = [copy.deepcopy(self._workloads.pods[uid]) for uid in uids]
        if late is not None:
            late(bodies, [await self._current(uid) for uid in after])
        for uid, body in zip(uids, bodies, strict=True):
            gang = self._workloads.gang(body)
            if gang is not None:
                await self._make(gang.uid)
            self._made[uid] = await self._create({"apiVersion": "v1", "kind": "Pod"} | body, POD)
        return [self._made[uid] for uid in uids]

    async def released(self, uids: Sequence[str], *, within_s: float) -> None:
        async def free() -> bool:
            pods = [await self._current(uid) for uid in uids]
            return not any(pod["spec"].get("schedulingGates") for pod in pods)

        await eventually(free, what=f"gates of {', '.join(uids)} gone", within_s=within_s)

    async def run(self, uids: Sequence[str]) -> None:
        """Once a scheduler has bound them, report the pods Ready as kubelet would."""
        for uid in uids:
            await self._schedule(await self._current(uid))

        async def bound() -> bool:
            return all([(await self._current(uid))["spec"].get("nodeName") for uid in uids])

        await eventually(bound, what=f"{', '.join(uids)} bound")
        for uid in uids:
            name = self._made[uid]["metadata"]["name"]
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            await self._client.patch(
                POD, name, {"status": status}, namespace=self._namespace, subresource="status", kind="strategic"
            )

    async def _schedule(self, pod: Object) -> None:
        """As another scheduler binds, where the pod names one: to a free node of those that it prefers."""
        if pod["spec"]["schedulerName"] == DEFAULT:
            return
        term = pod["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][-1]
        taken = {node(other) for other in await self._client.list(POD, namespace=self._namespace)}
        host = next(name for name in term["preference"]["matchExpressions"][0]["values"] if name not in taken)
        target = {"apiVersion": "v1", "kind": "Node", "name": host}
        name = pod["metadata"]["name"]
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self._client.create(POD, body, namespace=self._namespace, name=name, subresource="binding")

    async def _current(self, uid: str) -> Object:
        return await self._client.get(POD, self._made[uid]["metadata"]["name"], namespace=self._namespace)

    async def _create(self, obj: Object, resource: Resource) -> Object:
        meta: dict[str, Any] = {name: value for name, value in obj["metadata"].items() if name != "uid"}
        meta["namespace"] = self._namespace
        meta.pop("finalizers", None)
        if "generateName" in meta:
            del meta["name"]
        meta["ownerReferences"] = [await self._reference(ref) for ref in meta.get("ownerReferences") or ()]
        return await self._client.create(resource, obj | {"metadata": meta}, namespace=self._namespace)

    async def _reference(self, reference: dict[str, Any]) -> dict[str, Any]:
        uid = reference["uid"]
        if uid in self._workloads.objects:
            await self._make(uid)
        return reference | {"uid": self._made[uid]["metadata"]["uid"]} if uid in self._made else reference

    async def _make(self, uid: str) -> None:
        """One of the file's objects and what is above it, once."""
        if uid in self._made:
            return
        obj = self._workloads.objects[uid]
        resource = KINDS[obj["apiVersion"], obj["kind"]]
        if "." in resource.group and not resource.group.startswith("scheduling.k8s.io"):
            await crds.install(self._client, crds.definition(resource))
        self._made[uid] = await self._create(obj, resource)
        self._owners.append((resource, obj["metadata"]["name"]))
