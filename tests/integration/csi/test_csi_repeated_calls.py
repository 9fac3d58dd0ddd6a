"""kubelet's calls again, at once, in the wrong order or for what is taken: one mount a target, nothing left."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from csi.proto import csi_pb2, csi_pb2_grpc
from tests.support.csi_node import FILES, MODEL, CsiNode, code_of, why_no_mounts
from tests.support.fake_agent import FakeAgent
from tests.support.pulling import contents

pytestmark = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here")


async def test_publishing_ten_times_makes_one_mount(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    for _ in range(10):
        await stub.NodePublishVolume(pod.publish_request())
    assert len(node.mounts()) == 1
    assert len(agent.pins) == 1


async def test_twenty_concurrent_calls_for_one_target_make_one_mount(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    agent.hold_s = 0.2
    calls = [stub.NodePublishVolume(pod.publish_request()) for _ in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    codes = {answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)}
    assert codes <= {grpc.StatusCode.ABORTED}
    assert any(isinstance(answer, csi_pb2.NodePublishVolumeResponse) for answer in answers)
    assert len(node.mounts()) == 1


async def test_hundred_pods_at_once_all_get_their_model(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pods = [node.pod() for _ in range(100)]
    await asyncio.gather(*(stub.NodePublishVolume(pod.publish_request()) for pod in pods))
    assert len(node.mounts()) == len(agent.pins) == 100
    await asyncio.gather(*(stub.NodeUnpublishVolume(pod.unpublish_request()) for pod in pods))
    assert node.mounts() == []
    assert agent.pins == {}


async def test_two_pods_share_a_tree_and_end_apart(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    first, second = node.pod(), node.pod()
    for pod in (first, second):
        await stub.NodePublishVolume(pod.publish_request())
    await stub.NodeUnpublishVolume(first.unpublish_request())
    assert [mount.point for mount in node.mounts()] == [str(second.target)]
    assert contents(node.inside(second.target)) == FILES
    assert len(agent.pins) == 1


async def test_another_model_at_the_same_target_is_already_exists(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    agent.add_tree("team-a/other", {"other": b"1"})
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    code = await code_of(stub.NodePublishVolume(pod.publish_request(model="team-a/other")))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert contents(node.inside(pod.target)) == FILES
    assert len(agent.pins) == 1


async def test_republish_after_the_tag_moved_keeps_the_mounted_tree(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    agent.add_tree(MODEL, {"config.json": b"new"}, revision="r2")
    await stub.NodePublishVolume(pod.publish_request())
    assert contents(node.inside(pod.target)) == FILES


async def test_foreign_mount_at_the_target_is_already_exists(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    pod.target.mkdir()
    process = await asyncio.create_subprocess_exec(*node.enter, "mount", "-t", "tmpfs", "none", str(pod.target))
    assert await process.wait() == 0
    assert await code_of(stub.NodePublishVolume(pod.publish_request())) is grpc.StatusCode.ALREADY_EXISTS


async def test_unpublish_leaves_nothing_and_the_cache_as_it_was(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    await stub.NodeUnpublishVolume(pod.unpublish_request())
    assert node.mounts() == []
    assert not pod.target.exists()
    assert pod.target.parent.is_dir()  # kubelet's own
    assert agent.pins == {}
    assert sorted(path.read_bytes() for path in node.cache.rglob("*") if path.is_file()) == sorted(FILES.values())


async def test_unpublish_of_what_was_never_published_succeeds(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    await stub.NodeUnpublishVolume(node.pod().unpublish_request())


async def test_unpublish_twice_succeeds(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    for _ in range(2):
        await stub.NodeUnpublishVolume(pod.unpublish_request())


async def test_unpublish_takes_away_every_mount_stacked_on_the_target(
    node: CsiNode, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    process = await asyncio.create_subprocess_exec(*node.enter, "mount", "-t", "tmpfs", "none", str(pod.target))
    assert await process.wait() == 0
    await stub.NodeUnpublishVolume(pod.unpublish_request())
    assert node.mounts() == []
    assert not pod.target.exists()


async def test_unpublish_deletes_no_file_that_lies_in_the_target(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    pod.target.mkdir()
    (pod.target / "somebody's").write_text("precious")
    await code_of(stub.NodeUnpublishVolume(pod.unpublish_request()))
    assert (pod.target / "somebody's").read_text() == "precious"
