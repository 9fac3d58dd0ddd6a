"""The groups that a workload will make, read from its own object."""

from __future__ import annotations

from typing import Any

import pytest

from api import keys
from controller.groups.templates import expected


def template(name: str, *, asks: bool = True) -> dict[str, Any]:
    meta = {"annotations": {keys.MODEL: "llama"}} if asks else {}
    return {"metadata": meta, "spec": {"containers": [{"name": name}]}}


def obj(api_version: str, kind: str, spec: dict[str, Any], **annotations: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"annotations": annotations}, "spec": spec}


ENGINE = template("engine")
RAY = {
    "headGroupSpec": {"template": template("head", asks=False)},
    "workerGroupSpecs": [{"groupName": "gpu", "replicas": 2, "numOfHosts": 4, "template": ENGINE}],
}


@pytest.mark.parametrize(
    ("workload", "groups", "size"),
    [
        (obj("apps/v1", "Deployment", {"replicas": 3, "template": ENGINE}), 3, 1),
        (obj("apps/v1", "StatefulSet", {"replicas": 0, "template": ENGINE}), 0, 1),
        (obj("batch/v1", "Job", {"parallelism": 8, "completions": 4, "template": ENGINE}), 1, 4),
        (
            obj(
                "jobset.x-k8s.io/v1alpha2",
                "JobSet",
                {
                    "replicatedJobs": [
                        {
                            "name": "w",
                            "replicas": 2,
                            "template": {"spec": {"parallelism": 3, "template": ENGINE}},
                        }
                    ]
                },
            ),
            1,
            6,
        ),
        (
            obj(
                "leaderworkerset.x-k8s.io/v1",
                "LeaderWorkerSet",
                {"replicas": 2, "leaderWorkerTemplate": {"size": 4, "workerTemplate": ENGINE}},
            ),
            2,
            4,
        ),
        (
            obj(
                "kubeflow.org/v2beta1",
                "MPIJob",
                {
                    "mpiReplicaSpecs": {
                        "Launcher": {"replicas": 1, "template": template("l", asks=False)},
                        "Worker": {"replicas": 4, "template": ENGINE},
                    }
                },
            ),
            1,
            4,
        ),
        (obj("ray.io/v1", "RayCluster", RAY), 1, 8),
        (obj("ray.io/v1", "RayService", {"rayClusterConfig": RAY}), 1, 8),
        (obj("serving.knative.dev/v1", "Service", {"template": ENGINE}), 1, 1),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_every_kind_tells_groups_and_their_size(workload: dict[str, Any], groups: int, size: int) -> None:
    found = expected(workload)
    assert found is not None
    assert (found.groups, found.size, len(found.group)) == (groups, size, size)


@pytest.mark.parametrize(
    "spec",
    [
        {"suspend": True, "template": ENGINE},
    ],
)
def test_a_suspended_job_says_so(spec: dict[str, Any]) -> None:
    found = expected(obj("batch/v1", "Job", spec))
    assert found is not None
    assert found.suspended


def test_a_leader_worker_set_stays_within_its_own_level_and_surges_where_told() -> None:
    body = {"size": 2, "workerTemplate": ENGINE}
    key = "leaderworkerset.sigs.k8s.io/exclusive-topology"
    strict = expected(
        obj("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", {"leaderWorkerTemplate": body}, **{key: "rack"})
    )
    rollout = {"rollingUpdateConfiguration": {"maxSurge": 1}}
    surging = expected(
        obj(
            "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", {"leaderWorkerTemplate": body, "rolloutStrategy": rollout}
        )
    )
    assert strict is not None
    assert surging is not None
    assert (strict.topology_key, strict.in_place, surging.in_place) == ("rack", True, False)


@pytest.mark.parametrize("workload", [obj("x/v1", "Cheese", {}), obj("apps/v1", "Deployment", {"template": 3})])
def test_what_nobody_understands_promises_nothing(workload: dict[str, Any]) -> None:
    assert expected(workload) is None
