"""A node full of pods: real driver, real agent, real mounts. Start all at once; and read on whatever is restarted."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import yaml

from csi.proto import csi_pb2_grpc
from demo.group import FULL_DISK
from tests.support.csi_node import MODEL, CsiNode, Pod, why_no_mounts
from tests.support.processes import Server, free_port, warmset

pytestmark = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here")

SIZE = 1 << 20
MOST_BYTES = 256 << 20  # the chart's memory limit of the csi container


class FullNode:
    """The parts of one node, each of which can be replaced."""

    def __init__(self, folder: Path) -> None:
        self.csi = CsiNode(folder)
        self.config = folder / "agent.yaml"
        self.agent: Server | None = None
        model = folder / "model"
        model.mkdir()
        (model / "model.safetensors").write_bytes(os.urandom(SIZE))
        self.sha256 = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
        self.config.write_text(
            yaml.safe_dump(
                {
                    "root": str(self.csi.cache),
                    "watermarks": FULL_DISK,
                    "listen": f"127.0.0.1:{free_port()}",
                    "socket": str(self.csi.agent_socket),
                    "models": [{"name": MODEL, "source": f"file://{model}"}],
                }
            )
        )

    def start_agent(self) -> None:
        self.agent = warmset("agent", f"--config={self.config}", log=self.csi.folder / "agent.log")

    def stop_agent(self, *, kill: bool) -> None:
        assert self.agent
        (self.agent.process.kill if kill else self.agent.process.terminate)()
        self.agent.process.wait(timeout=20)

    def stop(self) -> None:
        if self.agent is not None:
            self.agent.stop()
        self.csi.stop()

    async def publish(self, pods: list[Pod]) -> None:
        """As kubelet does: again after a code that is not final."""
        async with self.csi.channel() as channel:
            stub = csi_pb2_grpc.NodeStub(channel)

            async def one(pod: Pod) -> None:
                for _ in range(20):
                    try:
                        await stub.NodePublishVolume(pod.publish_request(), timeout=60, wait_for_ready=True)
                        return
                    except grpc.aio.AioRpcError as error:
                        if error.code() not in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE):
                            raise
                    await asyncio.sleep(0.2)
                raise AssertionError("not published after 20 tries")

            await asyncio.gather(*(one(pod) for pod in pods))

    async def unpublish(self, pods: list[Pod]) -> None:
        async with self.csi.channel() as channel:
            stub = csi_pb2_grpc.NodeStub(channel)
            await asyncio.gather(*(stub.NodeUnpublishVolume(pod.unpublish_request(), timeout=60) for pod in pods))

    def pins(self) -> int:
        return len(list((self.csi.cache / "pins").iterdir()))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[FullNode]:
    node = FullNode(tmp_path)
    node.csi.start()
    try:
        node.start_agent()
        await node.csi.start_driver()
        yield node
    finally:
        node.stop()


def peak_bytes(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.timeout(240)
async def test_five_hundred_pods_at_once_stay_within_the_memory_limit_and_leak_nothing(node: FullNode) -> None:
    await node.publish([first := node.csi.pod()])
    assert node.agent
    pids = [node.csi.drivers[-1].pid, node.agent.process.pid]
    before = [descriptors(pid) for pid in pids]
    pods = [node.csi.pod() for _ in range(500)]
    await node.publish(pods)
    assert len(node.csi.mounts()) == node.pins() == 501
    await node.unpublish([first, *pods])
    assert node.csi.mounts() == []
    assert node.pins() == 0
    for pid in pids:
        assert peak_bytes(pid) < MOST_BYTES
    async with asyncio.timeout(90):  # idle connections between the two are closed in their own time
        while any(descriptors(pid) > count + 20 for pid, count in zip(pids, before, strict=True)):
            await asyncio.sleep(0.2)


class Reader:
    """Reads every mount over and over, as pods do, in a thread of its own."""

    def __init__(self, paths: list[Path], *, sha256: str) -> None:
        self._paths = paths
        self._sha256 = sha256
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0
        self.wrong: list[str] = []
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for path in self._paths:
                try:
                    found = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
                except OSError as error:
                    found = str(error)
                if found != self._sha256:
                    self.wrong.append(found)
            self.rounds += 1

    async def another_round(self) -> None:
        """One that began after now."""
        seen = self.rounds
        async with asyncio.timeout(60):
            while self.rounds < seen + 2:
                await asyncio.sleep(0.02)

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.timeout(240)
async def test_a_hundred_pods_read_on_while_driver_and_agent_are_killed_and_replaced(node: FullNode) -> None:
    pods = [node.csi.pod() for _ in range(100)]
    await node.publish(pods)
    reader = Reader([node.csi.inside(pod.target) for pod in pods], sha256=node.sha256)
    try:
        for kill in (True, False):
            (node.csi.drivers[-1].kill if kill else node.csi.drivers[-1].terminate)()
            node.csi.drivers[-1].wait(timeout=20)
            await reader.another_round()
            node.stop_agent(kill=kill)
            await reader.another_round()
            node.start_agent()
            await node.csi.start_driver()
            await reader.another_round()
        await node.publish(pods)  # kubelet asks again after a restart of its own
        await reader.another_round()
    finally:
        reader.end()
    assert reader.wrong == []
    assert len(node.csi.mounts()) == node.pins() == 100
    await node.unpublish(pods)
    assert node.csi.mounts() == []
    assert node.pins() == 0
