"""Agent, driver, caller or node stops in the middle: what is mounted stays, the rest can be tried again."""

from __future__ import annotations

import asyncio
import resource
import signal
from pathlib import Path

import grpc
import pytest

from csi.proto import csi_pb2, csi_pb2_grpc
from tests.support.csi_node import FILES, CsiNode, code_of, why_no_mounts
from tests.support.fake_agent import FakeAgent
from tests.support.pulling import contents

pytestmark = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here")


async def test_agent_down_is_unavailable_and_nothing_is_mounted(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    await agent.stop()
    pod = node.pod()
    assert await code_of(stub.NodePublishVolume(pod.publish_request())) is grpc.StatusCode.UNAVAILABLE
    assert node.mounts() == []
    assert not pod.target.exists()


async def test_unpublish_works_while_the_agent_is_down_and_its_pin_goes_when_it_is_back(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    await agent.stop()
    await stub.NodeUnpublishVolume(pod.unpublish_request())
    assert node.mounts() == []
    await agent.start()
    node.drivers[-1].kill()
    await node.start_driver()  # reports at start what is live
    async with asyncio.timeout(10):
        while agent.pins:
            await asyncio.sleep(0.05)


async def test_probe_is_ready_while_the_agent_is_down(node: CsiNode, agent: FakeAgent) -> None:
    await agent.stop()
    async with node.channel() as channel:
        answer = await csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest())
    assert answer.ready.value


async def test_pull_longer_than_the_call_is_aborted_and_mounts_nothing_later(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    agent.hold_s = 60.0
    pod = node.pod()
    # The driver keeps 15 s for itself, so that it asks the agent to hold the call for about half a second.
    code = await code_of(stub.NodePublishVolume(pod.publish_request(), timeout=15.5))
    assert code is grpc.StatusCode.ABORTED
    assert 0.0 < agent.asked[-1].wait_s < 5.0
    assert node.mounts() == []


async def test_call_whose_deadline_passes_leaves_the_target_free_for_unpublish(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    agent.hold_s = 0.0
    for deadline_s in (0.001, 0.005, 0.01, 0.02):
        call = stub.NodePublishVolume(pod.publish_request(), timeout=deadline_s)
        await asyncio.gather(call, return_exceptions=True)
        await stub.NodeUnpublishVolume(pod.unpublish_request(), wait_for_ready=True)
        assert node.mounts() == []
        assert not pod.target.exists()


async def test_driver_killed_between_calls_finds_its_mounts_again(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    (pin,) = agent.pins.values()
    node.drivers[-1].send_signal(signal.SIGKILL)
    node.drivers[-1].wait()
    assert contents(node.inside(pod.target)) == FILES
    reports = len(agent.reports)
    await node.start_driver()
    async with asyncio.timeout(10):
        while len(agent.reports) == reports:
            await asyncio.sleep(0.05)
    assert (agent.reports[-1].ids, agent.reports[-1].trees) == ([pin.id], {pin.id: pin.tree})
    await stub.NodePublishVolume(pod.publish_request(), wait_for_ready=True)
    assert len(node.mounts()) == 1
    assert len(agent.pins) == 1
    await stub.NodeUnpublishVolume(pod.unpublish_request())
    assert node.mounts() == []
    assert agent.pins == {}


async def test_sigterm_leaves_mounts_alone(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    node.drivers[-1].terminate()
    assert node.drivers[-1].wait(timeout=10) == 0
    assert contents(node.inside(pod.target)) == FILES


async def test_publish_after_a_reboot_mounts_again(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    pod.target.mkdir()  # what a reboot leaves: the folder without the mount
    await stub.NodePublishVolume(pod.publish_request())
    assert contents(node.inside(pod.target)) == FILES


async def test_running_out_of_descriptors_is_not_final_and_over_once_there_are_some(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    driver = node.drivers[-1].pid
    await stub.NodePublishVolume(node.pod().publish_request())
    usual = resource.prlimit(driver, resource.RLIMIT_NOFILE)
    resource.prlimit(driver, resource.RLIMIT_NOFILE, (len([*Path(f"/proc/{driver}/fd").iterdir()]), usual[1]))
    pod = node.pod()
    code = await code_of(stub.NodePublishVolume(pod.publish_request()))
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    resource.prlimit(driver, resource.RLIMIT_NOFILE, usual)
    await stub.NodePublishVolume(pod.publish_request())
    assert len(node.mounts()) == 2


async def test_a_driver_that_was_stopped_for_a_while_goes_on_where_it_was(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    """As in a paused virtual machine: a call waits meanwhile, and its caller gives up."""
    pod = node.pod()
    node.drivers[-1].send_signal(signal.SIGSTOP)
    code = await code_of(stub.NodePublishVolume(pod.publish_request(), timeout=1.0))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    node.drivers[-1].send_signal(signal.SIGCONT)
    await stub.NodeUnpublishVolume(pod.unpublish_request(), wait_for_ready=True)
    assert node.mounts() == []
    await stub.NodePublishVolume(pod.publish_request())
    assert len(node.mounts()) == len(agent.pins) == 1


async def test_pods_read_on_while_the_driver_is_replaced(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pods = [node.pod() for _ in range(20)]
    for pod in pods:
        await stub.NodePublishVolume(pod.publish_request())
    reports = len(agent.reports)
    node.drivers[-1].kill()
    replacing = asyncio.create_task(node.start_driver())
    while not replacing.done():
        assert all(contents(node.inside(pod.target)) == FILES for pod in pods)
        await asyncio.sleep(0.05)
    await replacing
    async with asyncio.timeout(10):
        while len(agent.reports) == reports:
            await asyncio.sleep(0.05)
    assert len(agent.pins) == 20
