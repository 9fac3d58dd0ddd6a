"""The groups that a workload will make, read from its own object."""

from __future__ import annotations

from typing import Any

import pytest

from api import keys
from api.resources import WorkloadPlacement
from controller.groups import resolve
from controller.groups.templates import expected, teller
from tests.support.workloads import load


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
    (found,) = expected(workload)
    assert (found.groups, found.size, len(found.group)) == (groups, size, size)


@pytest.mark.parametrize(
    "spec",
    [
        {"suspend": True, "template": ENGINE},
    ],
)
def test_a_suspended_job_says_so(spec: dict[str, Any]) -> None:
    (found,) = expected(obj("batch/v1", "Job", spec))
    assert found.suspended


def test_a_leader_worker_set_stays_within_its_own_level_and_surges_where_told() -> None:
    body = {"size": 2, "workerTemplate": ENGINE}
    key = "leaderworkerset.sigs.k8s.io/exclusive-topology"
    (strict,) = expected(
        obj("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", {"leaderWorkerTemplate": body}, **{key: "rack"})
    )
    rollout = {"rollingUpdateConfiguration": {"maxSurge": 1}}
    (surging,) = expected(
        obj(
            "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", {"leaderWorkerTemplate": body, "rolloutStrategy": rollout}
        )
    )
    assert (strict.topology_key, strict.in_place, surging.in_place) == ("rack", True, False)


@pytest.mark.parametrize("workload", [obj("x/v1", "Cheese", {}), obj("apps/v1", "Deployment", {"template": 3})])
def test_what_nobody_understands_promises_nothing(workload: dict[str, Any]) -> None:
    assert expected(workload) == ()


def test_each_role_of_a_disaggregated_set_makes_groups_of_its_own() -> None:
    roles = [
        {"name": name, "spec": {"replicas": groups, "leaderWorkerTemplate": {"size": size, "workerTemplate": ENGINE}}}
        for name, groups, size in (("prefill", 1, 2), ("decode", 3, 4))
    ]
    found = expected(obj("disaggregatedset.x-k8s.io/v1", "DisaggregatedSet", {"slices": 2, "roles": roles}))
    assert [(role.kind, role.groups, role.size, role.in_place) for role in found] == [
        ("prefill", 2, 2, False),
        ("decode", 6, 4, False),
    ]


def test_of_a_pod_clique_set_each_scaling_group_and_each_clique_outside_any_is_a_kind() -> None:
    (pod_clique_set,) = (o for o in load("grove").objects.values() if o["kind"] == "PodCliqueSet")
    found = {kind.kind: kind for kind in expected(pod_clique_set)}
    assert {name: (kind.groups, kind.size) for name, kind in found.items()} == {"prefill": (2, 3), "frontend": (1, 2)}


def test_kinds_of_group_that_do_not_ask_are_left_out() -> None:
    cliques: list[dict[str, Any]] = [
        {"name": name, "annotations": annotations, "spec": {"podSpec": ENGINE["spec"]}}
        for name, annotations in (("front", {}), ("engine", {keys.MODEL: "llama"}))
    ]
    found = expected(obj("grove.io/v1alpha1", "PodCliqueSet", {"template": {"cliques": cliques}}))
    assert [kind.kind for kind in found] == ["engine"]


@pytest.mark.parametrize(
    ("file", "pod"), [("grove", "pleader-0"), ("grove", "frontend-0"), ("disaggregatedset", "leader")]
)
def test_a_pods_group_says_of_which_kind_it_is(file: str, pod: str) -> None:
    workloads = load(file)
    top = next(o for o in workloads.objects.values() if o["kind"] in ("PodCliqueSet", "DisaggregatedSet"))
    if file == "disaggregatedset":
        lws = next(o for o in workloads.objects.values() if o["kind"] == "LeaderWorkerSet")
        top["spec"]["roles"] = [{"name": name, "spec": lws["spec"]} for name in ("prefill", "decode")]
    subject = workloads.pods[pod]
    member = resolve(subject, namespace="team", owners=workloads.chain(subject))
    assert member.kind in {kind.kind for kind in expected(top)}


def test_a_train_jobs_templates_are_those_of_its_job_set_without_the_initializers() -> None:
    asked = WorkloadPlacement(api_version="trainer.kubeflow.org/v1alpha1", kind="TrainJob", name="tune")
    assert teller(asked) == WorkloadPlacement(api_version="jobset.x-k8s.io/v1alpha2", kind="JobSet", name="tune")
    jobs = [{"name": n, "template": {"spec": {"template": ENGINE}}} for n in ("model-initializer", "node")]
    (found,) = expected(obj("jobset.x-k8s.io/v1alpha2", "JobSet", {"suspend": True, "replicatedJobs": jobs}))
    assert ([part.role for part in found.parts], found.suspended) == (["node"], True)
