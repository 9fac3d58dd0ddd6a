"""The driver without one of its safeguards breaks a promise, and the check of that promise shows it.

Each promise is checked on the driver as it is, where it holds, and on a driver whose process takes one safeguard out
before it starts. A check that a mutant passes would prove nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from csi.proto import csi_pb2_grpc
from tests.support.csi_node import MODEL, CsiNode, why_no_mounts
from tests.support.fake_agent import FakeAgent

pytestmark = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here")

Promise = Callable[[CsiNode, FakeAgent, csi_pb2_grpc.NodeStub], Awaitable[bool]]


async def mounts_are_read_only(node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub) -> bool:
    await stub.NodePublishVolume(node.pod().publish_request())
    return all(mount.options >= {"ro", "nosuid", "nodev"} for mount in node.mounts())


async def links_lead_nowhere(node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub) -> bool:
    """A link in the middle of the target path, which O_NOFOLLOW does not see."""
    pod = node.pod()
    volumes = pod.target.parents[2]
    elsewhere = node.folder / "kubelet" / "pods" / "elsewhere"
    volumes.rename(elsewhere)
    volumes.symlink_to(elsewhere)
    try:
        await stub.NodePublishVolume(pod.publish_request())
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return False


async def every_mount_is_pinned(node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub) -> bool:
    await stub.NodePublishVolume(node.pod().publish_request())
    return len(node.mounts()) == len(agent.pins) == 1


async def a_final_code_leaves_no_pin(node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub) -> bool:
    pod = node.pod()
    pod.target.write_text("in the way")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.NodePublishVolume(pod.publish_request())
    return caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT and not agent.pins


async def a_second_model_does_not_cover_the_first(node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub) -> bool:
    agent.add_tree("team-a/other", {"other": b"1"})
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    try:
        await stub.NodePublishVolume(pod.publish_request(model="team-a/other"))
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.ALREADY_EXISTS and len(node.mounts()) == 1
    return False


@dataclass(frozen=True)
class Mutant:
    without: str
    breaks: Promise


MUTANTS = {
    "the guard of mounts": Mutant(
        "import csi.syscalls\ncsi.syscalls.guard_mount = lambda mount: None", mounts_are_read_only
    ),
    "RESOLVE_NO_SYMLINKS": Mutant("import csi.syscalls\ncsi.syscalls._RESOLVE_NO_SYMLINKS = 0", links_lead_nowhere),
    "the pin": Mutant(
        "import csi.agent_client\n"
        "granted = csi.agent_client.AgentClient.publish\n"
        "async def publish(self, request):\n"
        "    answer = await granted(self, request)\n"
        "    await self.unpublish(request.id)\n"
        "    return answer\n"
        "csi.agent_client.AgentClient.publish = publish",
        every_mount_is_pinned,
    ),
    "the way back after a final code": Mutant(
        "import csi.node\nasync def unpin(self, target, *, because): pass\ncsi.node.NodeService._unpin = unpin",
        a_final_code_leaves_no_pin,
    ),
    "the look at what is mounted": Mutant(
        "import csi.node\n"
        "async def published(self, target): return None\n"
        "csi.node.NodeService._published = published\n"
        "import csi.syscalls\n"
        "csi.syscalls._RESOLVE_NO_XDEV = 0",
        a_second_model_does_not_cover_the_first,
    ),
}


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[FakeAgent]:
    async with FakeAgent(socket=tmp_path / "agent.sock", cache_root=tmp_path / "cache") as agent:
        agent.add_tree(MODEL, {"config.json": b"{}"})
        yield agent


async def holds(promise: Promise, folder: Path, agent: FakeAgent, *, first: str) -> bool:
    with CsiNode(folder) as node:
        await node.start_driver(first=first)
        async with node.channel() as channel:
            return await promise(node, agent, csi_pb2_grpc.NodeStub(channel))


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_driver_without_a_safeguard_is_noticed(name: str, tmp_path: Path, agent: FakeAgent) -> None:
    assert not await holds(MUTANTS[name].breaks, tmp_path, agent, first=MUTANTS[name].without)


@pytest.mark.parametrize("name", MUTANTS)
async def test_the_driver_as_it_is_keeps_that_promise(name: str, tmp_path: Path, agent: FakeAgent) -> None:
    assert await holds(MUTANTS[name].breaks, tmp_path, agent, first="")
