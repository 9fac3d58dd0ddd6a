"""Objects as the LeaderWorkerSet controller (v0.10) and its webhook make them: one group of a leader and workers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from kube.client import Client, Object
from kube.resources import POD, Resource

PREFIX = "leaderworkerset.sigs.k8s.io/"
REVISION = "6c9f7b8d5"
LEADER_WORKER_SETS = Resource("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")


@dataclass(frozen=True)
class Group:
    leader: Object
    workers: list[Object]

    @property
    def pods(self) -> list[Object]:
        return [self.leader, *self.workers]


async def create_group(
    client: Client, *, namespace: str, name: str, size: int, annotations: dict[str, str], pod_spec: Object
) -> Group:
    """LeaderWorkerSet ``name`` of one replica and what its controllers make of it (startupPolicy LeaderCreated)."""
    lws = await client.create(
        LEADER_WORKER_SETS,
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": name},
            "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": size}},
        },
        namespace=namespace,
    )
    template = {"labels": {PREFIX + "name": name}, "annotations": {**annotations, PREFIX + "size": str(size)}}
    leaders = await client.create(
        STATEFUL_SETS, _stateful_set(name, owner=lws, template=template, pod_spec=pod_spec), namespace=namespace
    )
    leader_name = f"{name}-0"
    key = hashlib.sha1(f"{namespace}/{leader_name}".encode()).hexdigest()
    common = {
        PREFIX + "name": name,
        PREFIX + "group-index": "0",
        PREFIX + "group-key": key,
        PREFIX + "template-revision-hash": REVISION,
    }
    leader = await client.create(
        POD,
        _pod(
            leader_name,
            owner=leaders,
            labels={**common, PREFIX + "worker-index": "0", "apps.kubernetes.io/pod-index": "0"},
            annotations=template["annotations"],
            spec=pod_spec,
        ),
        namespace=namespace,
    )
    followers = await client.create(
        STATEFUL_SETS,
        _stateful_set(leader_name, owner=leader, template=template, pod_spec=pod_spec),
        namespace=namespace,
    )
    workers = [
        await client.create(
            POD,
            _pod(
                f"{leader_name}-{index}",
                owner=followers,
                labels={**common, PREFIX + "worker-index": str(index)},
                annotations={**template["annotations"], PREFIX + "leader-name": leader_name},
                spec=pod_spec,
            ),
            namespace=namespace,
        )
        for index in range(1, size)
    ]
    return Group(leader, workers)


def _pod(name: str, *, owner: Object, labels: dict[str, str], annotations: dict[str, str], spec: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": annotations, "ownerReferences": [_owner(owner)]},
        "spec": spec,
    }


def _stateful_set(name: str, *, owner: Object, template: dict[str, Any], pod_spec: Object) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "ownerReferences": [_owner(owner)]},
        "spec": {
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": template["labels"]},
            "template": {"metadata": template, "spec": pod_spec},
        },
    }


def _owner(obj: Object) -> Object:
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
