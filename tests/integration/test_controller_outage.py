"""The API server does not answer for a while: the controller neither forgets nor does anything twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from api import keys
from controller.manager import LeadershipLost
from kube.client import Client
from kube.resources import POD
from tests.support.control import (
    TEAM,
    Control,
    agent_says,
    controlling,
    groups_on,
    make_model,
    make_node,
    pod,
    wanted_on,
)
from tests.support.controlplane import ControlPlane
from tests.support.installation import eventually


@contextmanager
def stopped(plane: ControlPlane) -> Iterator[None]:
    """The API server takes connections and says nothing, as behind a link that has died."""
    (server,) = [s for s in plane.servers if s.log.name == "kube-apiserver.log"]
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


async def gated(client: Client) -> bool:
    return bool((await client.get(POD, "one", namespace=TEAM))["spec"].get("schedulingGates"))


@pytest.fixture
async def holding(control: Control, cluster: Client) -> Control:
    """A pod is held, its node is planned and cold."""
    await make_model(cluster)
    await make_node(cluster, "n1")
    await agent_says(cluster, "n1")
    await cluster.create(POD, pod("one", annotations={keys.MODEL: "llama"}, gpus=8), namespace=TEAM)

    async def planned() -> bool:
        return bool(await groups_on(cluster, "n1"))

    await eventually(planned, what="a plan")
    return control


async def test_a_short_outage_changes_nothing(holding: Control, cluster: Client, control_plane: ControlPlane) -> None:
    before = await wanted_on(cluster, "n1")
    with stopped(control_plane):
        await asyncio.sleep(6)
    assert await wanted_on(cluster, "n1") == before
    assert await gated(cluster)
    await agent_says(cluster, "n1", {"llama": "Ready"})

    async def free() -> bool:
        return not await gated(cluster)

    await eventually(free, what="the gate gone", within_s=20)
    assert holding.failure is None


async def test_a_leader_that_cannot_renew_ends_and_the_next_goes_on_with_its_plan(
    holding: Control, cluster: Client, control_plane: ControlPlane
) -> None:
    """Two leaders at once would be worse than none: a leader gives up before its Lease runs out for others."""
    before = await wanted_on(cluster, "n1")

    async def ended() -> bool:
        return holding.failure is not None

    with stopped(control_plane):
        await eventually(ended, what="the leader's end", within_s=20)
    failure = holding.failure
    assert isinstance(failure, BaseExceptionGroup)
    assert failure.subgroup(LeadershipLost) is not None
    async with controlling(cluster, identity="two", webhook=False):
        await agent_says(cluster, "n1", {"llama": "Ready"})

        async def free() -> bool:
            return not await gated(cluster)

        await eventually(free, what="the gate gone", within_s=40)
        assert [m["groups"] for m in await wanted_on(cluster, "n1")] == [m["groups"] for m in before]
