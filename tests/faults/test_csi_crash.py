"""A driver that is killed at any system call of its own leaves what the next call puts right.

strace kills the driver when it enters the call, before the call has an effect, or, for the two calls that change what
pods see, holds it inside after the effect until the test kills it.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest

from csi.proto import csi_pb2_grpc
from tests.support.csi_node import FILES, MODEL, CsiNode, Pod, why_no_mounts
from tests.support.fake_agent import FakeAgent
from tests.support.pulling import contents

WHY_NOT = why_no_mounts() or ("" if shutil.which("strace") else "strace not found: install strace (6.0 or newer)")
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "faults can be injected here")
HELD_S = 20

PUBLISH_CALLS = ["mkdirat", "open_tree", "mount_setattr", "move_mount"]
# Which of the driver's calls, and which time. The second umount2 finds nothing mounted; unlinkat is the rmdir.
UNPUBLISH_CALLS = [("umount2", 1), ("umount2", 2), ("unlinkat", 1)]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[FakeAgent]:
    async with FakeAgent(socket=tmp_path / "agent.sock", cache_root=tmp_path / "cache") as agent:
        agent.add_tree(MODEL, FILES)
        yield agent


@pytest.fixture
def node(tmp_path: Path, agent: FakeAgent) -> Iterator[CsiNode]:
    with CsiNode(tmp_path) as node:
        yield node


@asynccontextmanager
async def injected(node: CsiNode, driver: subprocess.Popen[bytes], call: str, what: str) -> AsyncIterator[None]:
    """Trace a running driver and interfere with ``call`` (strace counts for each thread); let go at the end."""
    output = node.folder / "strace.out"
    command = ["strace", "-f", "-o", str(output), "-e", f"trace={call}", "-e", f"inject={call}:{what}"]
    tracer = await asyncio.create_subprocess_exec(*command, "-p", str(driver.pid), stderr=asyncio.subprocess.PIPE)
    assert tracer.stderr is not None
    async with asyncio.timeout(10):
        assert b"attached" in await tracer.stderr.readline()
    try:
        yield
    finally:
        if tracer.returncode is None:
            with suppress(ProcessLookupError):
                tracer.terminate()
        await tracer.communicate()


async def publish(node: CsiNode, pod: Pod) -> None:
    async with node.channel() as channel:
        await csi_pb2_grpc.NodeStub(channel).NodePublishVolume(pod.publish_request(), timeout=30)


async def unpublish(node: CsiNode, pod: Pod) -> None:
    async with node.channel() as channel:
        await csi_pb2_grpc.NodeStub(channel).NodeUnpublishVolume(pod.unpublish_request(), timeout=30)


async def is_killed_in(driver: subprocess.Popen[bytes], action: object) -> None:
    """Run a call that must end with the driver's death: otherwise nothing was injected, and nothing is proven."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await action  # type: ignore[misc]
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert await asyncio.to_thread(driver.wait, 10) != 0


def is_bare_or_whole(node: CsiNode, pod: Pod) -> bool:
    """What a pod could see at this moment: nothing, or all of the tree read-only."""
    mounts = node.mounts()
    if not mounts:
        return not pod.target.exists() or not any(pod.target.iterdir())
    whole = contents(node.inside(pod.target)) == FILES
    return len(mounts) == 1 and mounts[0].options >= {"ro", "nosuid", "nodev"} and whole


def is_clean(node: CsiNode, agent: FakeAgent, pod: Pod) -> bool:
    return node.mounts() == [] and not pod.target.exists() and agent.pins == {}


@pytest.mark.parametrize("call", PUBLISH_CALLS)
async def test_publish_killed_at_a_call_is_mended_by_publishing_again(
    node: CsiNode, agent: FakeAgent, call: str
) -> None:
    pod = node.pod()
    driver = await node.start_driver()
    async with injected(node, driver, call, "signal=SIGKILL:when=1"):
        await is_killed_in(driver, publish(node, pod))
    assert is_bare_or_whole(node, pod)
    await node.start_driver()
    await publish(node, pod)
    assert node.mounts()
    assert is_bare_or_whole(node, pod)
    assert len(agent.pins) == 1
    await unpublish(node, pod)
    assert is_clean(node, agent, pod)


@pytest.mark.parametrize("call", PUBLISH_CALLS)
async def test_publish_killed_at_a_call_leaves_nothing_after_unpublish(
    node: CsiNode, agent: FakeAgent, call: str
) -> None:
    pod = node.pod()
    driver = await node.start_driver()
    async with injected(node, driver, call, "signal=SIGKILL:when=1"):
        await is_killed_in(driver, publish(node, pod))
    await node.start_driver()
    await unpublish(node, pod)
    assert is_clean(node, agent, pod)


async def test_pin_of_a_killed_publish_goes_when_the_driver_starts_again(node: CsiNode, agent: FakeAgent) -> None:
    pod = node.pod()
    driver = await node.start_driver()
    async with injected(node, driver, "move_mount", "signal=SIGKILL:when=1"):
        await is_killed_in(driver, publish(node, pod))
    assert len(agent.pins) == 1
    await node.start_driver()
    async with asyncio.timeout(10):
        while agent.pins:
            await asyncio.sleep(0.05)


async def test_publish_killed_after_the_mount_keeps_its_pin_and_is_confirmed(node: CsiNode, agent: FakeAgent) -> None:
    pod = node.pod()
    driver = await node.start_driver()
    async with injected(node, driver, "move_mount", f"delay_exit={HELD_S}s:when=1"):
        call = asyncio.create_task(is_killed_in(driver, publish(node, pod)))
        async with asyncio.timeout(10):
            while not node.mounts():
                await asyncio.sleep(0.05)
        driver.kill()
        await call
    assert is_bare_or_whole(node, pod)
    reports = len(agent.reports)
    await node.start_driver()
    async with asyncio.timeout(10):
        while len(agent.reports) == reports:
            await asyncio.sleep(0.05)
    assert len(agent.pins) == 1
    await publish(node, pod)
    assert len(node.mounts()) == 1
    await unpublish(node, pod)
    assert is_clean(node, agent, pod)


@pytest.mark.parametrize(("call", "when"), UNPUBLISH_CALLS)
async def test_unpublish_killed_at_a_call_is_mended_by_unpublishing_again(
    node: CsiNode, agent: FakeAgent, call: str, when: int
) -> None:
    pod = node.pod()
    driver = await node.start_driver()
    await publish(node, pod)
    async with injected(node, driver, call, f"signal=SIGKILL:when={when}"):
        await is_killed_in(driver, unpublish(node, pod))
    assert is_bare_or_whole(node, pod)
    await node.start_driver()
    await unpublish(node, pod)
    assert is_clean(node, agent, pod)


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        ("open_tree", "EPERM", grpc.StatusCode.INTERNAL),
        ("mount_setattr", "EINVAL", grpc.StatusCode.INTERNAL),
        ("move_mount", "EPERM", grpc.StatusCode.INTERNAL),
        ("move_mount", "ENOSPC", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("open_tree", "EIO", grpc.StatusCode.UNAVAILABLE),
        ("open_tree", "ENOMEM", grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_call_that_the_kernel_refuses_mounts_nothing_and_a_final_answer_leaves_no_pin(
    node: CsiNode, agent: FakeAgent, call: str, error: str, code: grpc.StatusCode
) -> None:
    pod = node.pod()
    driver = await node.start_driver()
    async with injected(node, driver, call, f"error={error}:when=1"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await publish(node, pod)
    assert caught.value.code() is code
    assert node.mounts() == []
    assert not pod.target.exists()
    assert agent.pins == {} or code is not grpc.StatusCode.INTERNAL
    await publish(node, pod)
    assert is_bare_or_whole(node, pod)
    assert node.mounts()


async def test_busy_target_is_asked_for_again_and_keeps_its_pin(node: CsiNode, agent: FakeAgent) -> None:
    pod = node.pod()
    driver = await node.start_driver()
    await publish(node, pod)
    async with injected(node, driver, "umount2", "error=EBUSY:when=1"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unpublish(node, pod)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert len(agent.pins) == 1
    await unpublish(node, pod)
    assert is_clean(node, agent, pod)
