"""Groups that Kueue's topology-aware scheduling places: its nodes are warmed, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from api import keys
from api.resources import API_VERSION
from controller.cluster.levels import SAID_BY
from controller.kueue.workload import CONTROLLER
from controller.objects.resources import WARM_SET
from kube.client import Client
from kube.resources import POD
from tests.support import crds, kueue
from tests.support.control import TEAM, Control, agent_says, controlling, groups_on, make_model, make_node, wanted_on
from tests.support.installation import eventually
from tests.support.owner_controllers import OwnerControllers
from tests.support.workloads import load

NODES = ("n1", "n2", "n3")


@pytest.fixture
async def control(cluster: Client) -> AsyncIterator[Control]:
    await kueue.install_kueue(cluster)
    async with controlling(cluster) as control:
        await make_model(cluster)
        for name in NODES:
            await make_node(cluster, name)
            await agent_says(cluster, name)
        yield control
    await kueue.uninstall_kueue(cluster)


async def planned(cluster: Client) -> list[str]:
    return [n for n in NODES if await groups_on(cluster, n)]


async def until_planned(cluster: Client, *names: str) -> None:
    async def so() -> bool:
        return await planned(cluster) == list(names)

    await eventually(so, what=f"{', '.join(names)} planned", within_s=10)


async def test_kueues_nodes_are_warmed_before_it_lets_the_pods_go_and_they_land_there(
    control: Control, cluster: Client
) -> None:
    pods = ("sample-0", "sample-1")
    async with OwnerControllers(cluster, load("kueue"), namespace=TEAM) as owners:
        await owners.make_pods(pods)
        await asyncio.sleep(1)
        assert await planned(cluster) == []  # Kueue has not said where
        sets = [{"name": "4ebdd4a6", "count": 2, "template": {"spec": {}}}]
        await kueue.make_workload(cluster, "sample", namespace=TEAM, pod_sets=sets)
        await kueue.assign(cluster, "sample", namespace=TEAM, pod_set="4ebdd4a6", hosts=["n1", "n3"])
        await until_planned(cluster, "n1", "n3")
        # A node fails, and Kueue replaces it.
        await kueue.assign(cluster, "sample", namespace=TEAM, pod_set="4ebdd4a6", hosts=["n2", "n3"])
        await until_planned(cluster, "n2", "n3")
        for pod, host in zip(pods, ("n2", "n3"), strict=True):
            await kueue.ungate(cluster, pod, namespace=TEAM, host=host)
        await agent_says(cluster, "n2", {"llama": "Ready"})
        await asyncio.sleep(1)
        bodies = [await cluster.get(POD, pod, namespace=TEAM) for pod in pods]
        assert all(body["spec"].get("schedulingGates") for body in bodies)
        await agent_says(cluster, "n3", {"llama": "Ready"})
        await owners.released(pods, within_s=8)
        await owners.run(pods)
        bodies = [await cluster.get(POD, pod, namespace=TEAM) for pod in pods]
        assert [body["spec"]["nodeName"] for body in bodies] == ["n2", "n3"]


async def test_a_workload_is_admitted_when_its_nodes_are_warm(control: Control, cluster: Client) -> None:
    """The pods do not exist yet: Kueue makes none before it admits, and its clock for ready pods starts then."""
    check = {"metadata": {"name": "weights"}, "spec": {"controllerName": CONTROLLER}}
    body = {"apiVersion": kueue.ADMISSION_CHECK.api_version, "kind": "AdmissionCheck"} | check
    await cluster.create(kueue.ADMISSION_CHECK, body)

    async def active() -> bool:
        found = await cluster.get(kueue.ADMISSION_CHECK, "weights")
        return [c["type"] for c in found.get("status", {}).get("conditions", []) if c["status"] == "True"] == ["Active"]

    await eventually(active, what="the check active")
    template = {"metadata": {"annotations": {keys.MODEL: "llama"}}, "spec": {}}
    sets = [{"name": "main", "count": 2, "template": template}]
    made = await kueue.make_workload(cluster, "job-train", namespace=TEAM, pod_sets=sets)
    now = made["metadata"]["creationTimestamp"]
    status = {
        "conditions": [{"type": "QuotaReserved", "status": "True", "lastTransitionTime": now}],
        "admissionChecks": [
            {"name": name, "state": "Pending", "message": "", "lastTransitionTime": now}
            for name in ("weights", "theirs")
        ],
    }
    where = {"namespace": TEAM, "pod_set": "main"}
    await kueue.assign(cluster, "job-train", hosts=["n1", "n2"], **where, **status)

    async def said(state: str, message: str) -> bool:
        checks = (await cluster.get(kueue.WORKLOAD, "job-train", namespace=TEAM))["status"]["admissionChecks"]
        found = {c["name"]: (c["state"], c["message"]) for c in checks}
        return found["weights"] == (state, message) and found["theirs"] == ("Pending", "")

    async def desired(*names: str) -> bool:
        return [n for n in NODES if await wanted_on(cluster, n)] == list(names)

    await eventually(lambda: said("Pending", "0 of 2 nodes are warm"), what="pending", within_s=10)
    await eventually(lambda: desired("n1", "n2"), what="the assigned nodes told to pull")
    await agent_says(cluster, "n1", {"llama": "Ready"})
    await eventually(lambda: said("Pending", "1 of 2 nodes are warm"), what="one warm", within_s=10)
    # n2 fails before it is warm; Kueue assigns n3.
    await kueue.assign(cluster, "job-train", hosts=["n1", "n3"], **where)
    await eventually(lambda: desired("n1", "n3"), what="the other node told to pull", within_s=10)
    await agent_says(cluster, "n3", {"llama": "Ready"})
    await eventually(lambda: said("Ready", "2 nodes hold the weights"), what="ready", within_s=10)


async def test_groups_are_kept_within_the_levels_of_kueues_topology(cluster: Client) -> None:
    """Without any configuration: one group of two fits in rack r2 alone, though n1 comes first."""
    resource, _ = SAID_BY[0]
    await crds.install(cluster, crds.definition(resource))
    levels = {"levels": [{"nodeLabel": "rack"}, {"nodeLabel": "kubernetes.io/hostname"}]}
    body = {"apiVersion": resource.api_version, "kind": "Topology", "metadata": {"name": "default"}, "spec": levels}
    await cluster.create(resource, body)
    try:
        async with controlling(cluster):
            await make_model(cluster)
            for name, rack in zip(NODES, ("r1", "r2", "r2"), strict=True):
                await make_node(cluster, name, labels={"rack": rack})
                await agent_says(cluster, name)
            groups = {"groups": {"count": 1, "size": 2}}
            warm_set = {"metadata": {"name": "two"}, "spec": {"models": ["llama"], "placement": groups}}
            await cluster.create(WARM_SET, {"apiVersion": API_VERSION, "kind": "WarmSet"} | warm_set, namespace=TEAM)
            await until_planned(cluster, "n2", "n3")
    finally:
        await crds.uninstall(cluster, resource)
