"""What kubelet does around its calls, played as its source has it: it restarts, and it binds parts of a volume.

kubernetes pkg/kubelet/volumemanager/reconciler (after a restart volumes are uncertain, and set up or torn down again)
and pkg/volume/util/subpath.
"""

from __future__ import annotations

import asyncio
import errno

import pytest

from csi.proto import csi_pb2_grpc
from tests.support.csi_node import FILES, CsiNode, why_no_mounts
from tests.support.fake_agent import FakeAgent
from tests.support.pulling import contents

pytestmark = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here")


async def test_a_restarted_kubelet_publishes_again_what_runs_and_ends_what_was_deleted_meanwhile(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    running, deleted = node.pod(), node.pod()
    for pod in (running, deleted):
        await stub.NodePublishVolume(pod.publish_request())
    before = node.mounts()
    with (node.inside(running.target) / "weights" / "model.safetensors").open("rb") as opened:
        await stub.NodePublishVolume(running.publish_request())
        await stub.NodeUnpublishVolume(deleted.unpublish_request())
        assert opened.read() == FILES["weights/model.safetensors"]
    assert node.mounts() == [mount for mount in before if mount.point == str(running.target)]
    assert not deleted.target.exists()
    assert len(agent.pins) == 1


async def test_a_mount_that_kubelet_cleaned_up_without_the_driver_leaves_no_pin_for_long(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    """A pod removed by force while kubelet was down: the orphan's mount goes, and nobody calls Unpublish."""
    orphan, other = node.pod(), node.pod()
    for pod in (orphan, other):
        await stub.NodePublishVolume(pod.publish_request())
    await run(node, "umount", str(orphan.target))
    orphan.target.rmdir()
    node.drivers[-1].kill()
    await node.start_driver()  # reports at start, and then each minute
    async with asyncio.timeout(20):
        while len(agent.pins) > 1:
            await asyncio.sleep(0.05)
    assert contents(node.inside(other.target)) == FILES
    await stub.NodeUnpublishVolume(orphan.unpublish_request(), wait_for_ready=True)  # should it call after all


async def test_a_part_of_the_volume_is_bound_read_only_and_one_that_is_missing_cannot_be_made(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    part = node.kubelet / "pods" / pod.uid / "volume-subpaths" / "weights" / "engine" / "0"
    part.mkdir(parents=True)
    await run(node, "mount", "--bind", str(pod.target / "weights"), str(part))
    assert contents(node.inside(part)) == {"model.safetensors": FILES["weights/model.safetensors"]}
    (bound,) = [mount for mount in node.mounts() if mount.point == str(part)]
    assert bound.options >= {"ro", "nosuid", "nodev"}
    for change in ((node.inside(part) / "new").touch, (node.inside(pod.target) / "missing").mkdir):
        with pytest.raises(OSError, match="Read-only") as refused:
            change()
        assert refused.value.errno == errno.EROFS
    await run(node, "umount", str(part))  # kubelet's order: the container's parts, then the volume
    await stub.NodeUnpublishVolume(pod.unpublish_request())
    assert node.mounts() == []
    assert agent.pins == {}


async def run(node: CsiNode, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(*node.enter, *command)
    assert await process.wait() == 0, command
