"""The Node service up to the mount itself, called in process with a real agent socket (tests/integration mounts)."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from api import errors
from csi.agent_client import AgentClient
from csi.arguments import publish_order
from csi.config import Config
from csi.inflight import InFlight
from csi.node import NodeService
from csi.proto import csi_pb2
from tests.support.csi_node import Pod
from tests.support.fake_agent import FakeAgent


class Caller:
    """The part of gRPC's context that the service asks."""

    def __init__(self, remaining_s: float | None = None) -> None:
        self._remaining_s = remaining_s

    def time_remaining(self) -> float | None:
        return self._remaining_s


@pytest.fixture
def service(config: Config, client: AgentClient) -> NodeService:
    return NodeService(config=config, agent=client, in_flight=InFlight())


@pytest.mark.parametrize(("remaining_s", "wait_s"), [(None, 100.0), (120.0, 100.0), (60.0, 45.0), (10.0, 0.0)])
async def test_agent_may_hold_the_call_until_shortly_before_its_deadline(
    service: NodeService, agent: FakeAgent, pod: Pod, remaining_s: float | None, wait_s: float
) -> None:
    agent.models.clear()
    with pytest.raises(errors.NotFound):
        await service.NodePublishVolume(pod.publish_request(), Caller(remaining_s))
    assert agent.asked[0].wait_s == wait_s


async def test_pull_that_goes_on_makes_no_folder(service: NodeService, agent: FakeAgent, pod: Pod) -> None:
    agent.hold_s = 5.0
    with pytest.raises(errors.Pulling):
        await service.NodePublishVolume(pod.publish_request(), Caller(15.0))
    assert not pod.target.exists()


async def test_final_refusal_takes_back_a_pin_of_an_earlier_try(
    service: NodeService, agent: FakeAgent, client: AgentClient, pod: Pod
) -> None:
    shutil.rmtree(agent.cache_root)  # the first try pins and then finds no tree to mount
    with pytest.raises(errors.CacheVolumeLost):
        await service.NodePublishVolume(pod.publish_request(), Caller())
    assert len(agent.pins) == 1
    agent.refuse("POST", "Forbidden")
    with pytest.raises(errors.Forbidden):
        await service.NodePublishVolume(pod.publish_request(), Caller())
    assert agent.pins == {}


async def test_refusal_is_not_final_while_a_pin_cannot_be_taken_back(
    service: NodeService, agent: FakeAgent, pod: Pod
) -> None:
    agent.refuse("POST", "Forbidden")
    agent.refuse("DELETE", "DiskError")
    with pytest.raises(errors.AgentUnavailable, match="Forbidden"):
        await service.NodePublishVolume(pod.publish_request(), Caller())


async def test_target_that_is_a_file_is_refused_and_unpinned(service: NodeService, agent: FakeAgent, pod: Pod) -> None:
    pod.target.write_text("not a folder")
    with pytest.raises(errors.InvalidRequest):
        await service.NodePublishVolume(pod.publish_request(), Caller())
    assert agent.pins == {}
    assert pod.target.read_text() == "not a folder"


async def test_volume_folder_that_kubelet_did_not_make_is_refused(
    service: NodeService, agent: FakeAgent, pod: Pod
) -> None:
    pod.target.parent.rmdir()
    with pytest.raises(errors.InvalidRequest):
        await service.NodePublishVolume(pod.publish_request(), Caller())
    assert not pod.target.parent.exists()


async def test_cancelled_call_frees_its_target(service: NodeService, agent: FakeAgent, pod: Pod) -> None:
    agent.hold_s = 30.0
    call = asyncio.create_task(service.NodePublishVolume(pod.publish_request(), Caller()))
    while not agent.asked:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    pod.target.parent.rmdir()
    await service.NodeUnpublishVolume(pod.unpublish_request(), Caller())


async def test_call_for_a_target_that_is_worked_on_is_busy(service: NodeService, agent: FakeAgent, pod: Pod) -> None:
    agent.hold_s = 0.5
    agent.models.clear()
    first = asyncio.create_task(service.NodePublishVolume(pod.publish_request(), Caller()))
    while not agent.asked:
        await asyncio.sleep(0.01)
    with pytest.raises(errors.TargetBusy):
        await service.NodePublishVolume(pod.publish_request(), Caller())
    with pytest.raises(errors.TargetBusy):
        await service.NodeUnpublishVolume(pod.unpublish_request(), Caller())
    with pytest.raises(errors.NotFound):
        await first


async def test_unpublish_of_a_pod_that_is_gone_unpins_it(
    service: NodeService, agent: FakeAgent, client: AgentClient, config: Config, pod: Pod
) -> None:
    await client.publish(publish_order(pod.publish_request(), config=config).request(wait_s=0.0))
    shutil.rmtree(pod.target.parents[3])
    await service.NodeUnpublishVolume(pod.unpublish_request(), Caller())
    assert agent.pins == {}


async def test_stats_of_an_unknown_path_are_not_found(service: NodeService, agent: FakeAgent, pod: Pod) -> None:
    for path in ("some/path", str(pod.target)):
        request = csi_pb2.NodeGetVolumeStatsRequest(volume_id="v", volume_path=path)
        with pytest.raises(errors.NotFound):
            await service.NodeGetVolumeStats(request, Caller())


async def test_node_id_is_the_nodes_name(service: NodeService) -> None:
    answer = await service.NodeGetInfo(csi_pb2.NodeGetInfoRequest(), Caller())
    assert answer.node_id == "node-1"


async def test_only_volume_stats_are_offered(service: NodeService) -> None:
    answer = await service.NodeGetCapabilities(csi_pb2.NodeGetCapabilitiesRequest(), Caller())
    rpc = csi_pb2.NodeServiceCapability.RPC
    assert [capability.rpc.type for capability in answer.capabilities] == [rpc.GET_VOLUME_STATS]
