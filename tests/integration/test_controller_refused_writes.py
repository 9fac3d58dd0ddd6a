"""The API server answers and refuses what would be written: etcd has no space, a namespace is being deleted."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from api import keys
from controller.objects.resources import WARM_SET
from kube.client import ApiError, Client
from kube.resources import NAMESPACE, NODE, POD
from tests.support.control import TEAM, Control, agent_says, groups_on, make_model, make_node, pod
from tests.support.controlplane import ControlPlane, without_space
from tests.support.installation import eventually

LEAVING = "leaving"
MOST_TRIES = 30  # of all that the controller has to write, in the seconds that these tests watch


async def failures(control: Control) -> float:
    """Reconciles that could not write what they wanted, so far."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{control.http}/metrics") as answer,
    ):
        lines = (await answer.text()).splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("warmset_reconcile_failures_total{"))


async def free(client: Client) -> bool:
    return not (await client.get(POD, "one", namespace=TEAM))["spec"].get("schedulingGates")


@pytest.fixture
async def held(control: Control, cluster: Client) -> Control:
    """Pod `one` waits for its node, which is cold."""
    await make_model(cluster, allowedNamespaces=[LEAVING])
    await make_node(cluster, "n1")
    await agent_says(cluster, "n1")
    await cluster.create(POD, pod("one", annotations={keys.MODEL: "llama"}), namespace=TEAM)

    async def planned() -> bool:
        return bool(await groups_on(cluster, "n1"))

    await eventually(planned, what="a plan")
    return control


async def test_without_space_in_etcd_it_tries_seldom_and_goes_on_once_there_is_some(
    held: Control, cluster: Client, control_plane: ControlPlane
) -> None:
    async with without_space(control_plane):
        with pytest.raises(ApiError, match="space exceeded"):
            await agent_says(cluster, "n1", {"llama": "Ready"})
        before = await failures(held)
        await cluster.delete(NODE, "n1")  # no other fits, so the pod is to be let go, which is a write
        await asyncio.sleep(6)  # less than a leader may go without renewing
        assert 1 <= await failures(held) - before <= MOST_TRIES
        assert not await free(cluster)
    await eventually(lambda: free(cluster), what="the gate gone", within_s=20)
    assert held.failure is None


async def test_nothing_is_made_in_a_namespace_that_is_being_deleted_and_others_are_served(
    held: Control, cluster: Client
) -> None:
    async def made() -> bool:
        return bool(await cluster.list(WARM_SET, namespace=LEAVING))

    async def groups(count: int) -> bool:
        return len(await groups_on(cluster, "n1")) == count

    await cluster.create(NAMESPACE, {"metadata": {"name": LEAVING}})
    stuck = pod("stuck", annotations={keys.MODEL: f"{TEAM}/llama"})
    stuck["metadata"]["finalizers"] = ["example.com/never"]
    await cluster.create(POD, stuck, namespace=LEAVING)
    try:
        await eventually(made, what="the workload's WarmSet")
        await eventually(lambda: groups(2), what="both pods planned")
        await cluster.delete(NAMESPACE, LEAVING)
        before = await failures(held)
        # What the namespace controller would do; with no garbage collector, nothing else is deleted meanwhile.
        for warm_set in await cluster.list(WARM_SET, namespace=LEAVING):
            await cluster.delete(WARM_SET, warm_set["metadata"]["name"], namespace=LEAVING)
        # A change that has the controller look at the pod again, and miss its WarmSet.
        await cluster.patch(POD, "stuck", {"metadata": {"labels": {"changed": "yes"}}}, namespace=LEAVING)
        await asyncio.sleep(4)
        assert 1 <= await failures(held) - before <= MOST_TRIES
        assert not await made()
        await cluster.delete(POD, "stuck", namespace=LEAVING, grace_s=0)  # goes on being there, for its finalizer
        await eventually(lambda: groups(1), what="the plan of a pod that is going taken back")
        await agent_says(cluster, "n1", {"llama": "Ready"})
        await eventually(lambda: free(cluster), what="the other namespace's pod released")
        assert not await made()
    finally:
        await end(cluster)


async def end(cluster: Client) -> None:
    """The namespace and what is stuck in it."""
    await cluster.patch(POD, "stuck", {"metadata": {"finalizers": None}}, namespace=LEAVING)
    body = await cluster.get(NAMESPACE, LEAVING)
    await cluster.replace(NAMESPACE, body | {"spec": {"finalizers": []}}, subresource="finalize")
