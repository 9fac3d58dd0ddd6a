"""What each workload API says of its groups before any pod exists, on a real API server: the project's own examples."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from api import keys
from api.resources import API_VERSION
from controller.cluster.owners import KINDS
from controller.objects.pods import node
from controller.objects.resources import WARM_SET
from kube.client import Client, Object
from kube.resources import POD
from tests.support import lws
from tests.support.control import TEAM, Control, agent_says, make_model, make_node, wanted_on
from tests.support.installation import eventually
from tests.support.workload_crds import define, undefine

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"
# Kept warm at one group, the groups and the nodes that each is told.
EXPECTED = {
    "deployment": (1, 1),
    "disaggregatedset": (2, 4),  # one of each role
    "grove": (1, 4),
    "job": (1, 1),
    "jobset": (1, 8),
    "knative-service": (1, 1),
    "lws": (1, 4),
    "mpijob": (1, 2),  # its launcher takes no node of its own
    "raycluster": (1, 8),  # whose head does not ask
    "rayservice": (1, 2),
    "statefulset": (1, 1),
    "trainjob": (1, 2),
}
NEXT = keys.model_key(TEAM, "llama-4")
NODES = [f"n{number:02}" for number in range(10)]


@pytest.fixture
async def workloads(control: Control, cluster: Client) -> AsyncIterator[Client]:
    """Ten nodes, and an API server that knows the fields of all workload APIs."""
    await define(cluster)
    await make_model(cluster, "llama-3-70b")
    for name in NODES:
        await make_node(cluster, name)
        await agent_says(cluster, name)
    yield cluster
    for kind in (("apps/v1", "Deployment"), ("batch/v1", "Job")):
        for obj in await cluster.list(KINDS[kind], namespace=TEAM):
            await cluster.delete(KINDS[kind], obj["metadata"]["name"], namespace=TEAM)
    await undefine(cluster)


def example(name: str) -> Object:
    """The file's workload, kept warm at one group; every one asks for the same model."""
    text = re.sub(rf"{keys.MODEL}: .*", f"{keys.MODEL}: llama-3-70b", (EXAMPLES / f"{name}.yaml").read_text())
    (obj,) = yaml.safe_load_all(text)
    annotations = (obj["metadata"].get("annotations") or {}) | {keys.KEEP_WARM_GROUPS: "1"}
    obj["metadata"] = {"name": f"{obj['metadata']['name']}-{name}", "annotations": annotations}
    return obj


async def make_warm(client: Client, obj: Object) -> str:
    """The workload, and a WarmSet for it as `warmset warm --for` makes it; returns the WarmSet's name."""
    made = await client.create(KINDS[obj["apiVersion"], obj["kind"]], obj, namespace=TEAM)
    reference = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": obj["metadata"]["name"]}
    meta = {"name": obj["metadata"]["name"], "ownerReferences": [reference | {"uid": made["metadata"]["uid"]}]}
    body: Object = {"apiVersion": API_VERSION, "kind": "WarmSet", "metadata": meta}
    spec = {"models": ["llama-3-70b"], "placement": {"workload": reference}}
    await client.create(WARM_SET, body | {"spec": spec}, namespace=TEAM)
    return str(meta["name"])


def made_by_trainer(train_job: Object) -> Object:
    """The JobSet of the same name: the runtime's Jobs with the TrainJob's patch on them."""
    (patch,) = train_job["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template = job["template"]["spec"]["template"] | {"spec": engine()}
    jobs = [
        {"name": "model-initializer", "template": {"spec": {"template": {"spec": engine()}}}},
        {"name": "node", "template": {"spec": {"parallelism": 2, "completions": 2, "template": template}}},
    ]
    resource = KINDS["jobset.x-k8s.io/v1alpha2", "JobSet"]
    meta = {"name": train_job["metadata"]["name"]}
    spec = {"suspend": True, "replicatedJobs": jobs}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": spec}


def engine() -> dict[str, Any]:
    return {"containers": [{"name": "node", "image": "engine:1", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}


async def test_every_workload_that_tells_is_warmed_before_its_pods_exist(workloads: Client) -> None:
    names: dict[str, str] = {}
    for name in EXPECTED:
        obj = example(name)
        if name == "trainjob":
            obj["spec"]["suspend"] = True
            job_set = made_by_trainer(obj)
            await workloads.create(KINDS[job_set["apiVersion"], "JobSet"], job_set, namespace=TEAM)
        names[await make_warm(workloads, obj)] = name
    found: dict[str, tuple[int, int]] = {}

    async def as_expected() -> bool:
        for warm_set in await workloads.list(WARM_SET, namespace=TEAM):
            status = warm_set.get("status") or {}
            told = status.get("groupsDesired", 0), status.get("nodesDesired", 0)
            found[names[warm_set["metadata"]["name"]]] = told
        return found == EXPECTED

    with suppress(AssertionError):  # which would not say whose groups are missing
        await eventually(as_expected, what="every workload's groups planned")
    assert found == EXPECTED


@pytest.mark.parametrize(("surge", "beside"), [(0, False), (1, True)])
async def test_a_rollout_is_warmed_where_its_next_group_will_come(
    workloads: Client, monkeypatch: pytest.MonkeyPatch, surge: int, beside: bool
) -> None:
    """A LeaderWorkerSet deletes a group and makes it anew in its place, or with maxSurge beside it first."""
    monkeypatch.setattr("controller.cluster.owners.FRESH_TEMPLATE_S", 0.0)
    monkeypatch.setattr("controller.reconcile.ahead.LOOK_S", 0.5)
    old, resource = NODES[:2], KINDS["leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"]
    await make_model(workloads, "llama-4")
    for name in old:
        await agent_says(workloads, name, {"llama-3-70b": "Ready"})
    asks = {keys.MODEL: "llama-3-70b"}
    await lws.create_group(workloads, namespace=TEAM, name="vllm", size=2, annotations=asks, pod_spec=engine())

    async def running() -> bool:
        return sorted(map(node, await workloads.list(POD, namespace=TEAM))) == old

    await eventually(running, what="the group on its warm nodes")
    rollout = {"rollingUpdateConfiguration": {"maxSurge": surge}}
    template = {"metadata": {"annotations": {keys.MODEL: "llama-4"}}, "spec": engine()}
    spec = {"rolloutStrategy": rollout, "leaderWorkerTemplate": {"workerTemplate": template}}
    await workloads.patch(resource, "vllm", {"spec": spec}, namespace=TEAM)

    async def ahead() -> bool:
        new = {name for name in NODES if any(m["model"] == NEXT for m in await wanted_on(workloads, name))}
        return len(new) == 2 and new.isdisjoint(old) == beside

    await eventually(ahead, what="the next model on the nodes of the next group")
