"""How long kubelet waits for a model that the node has: NodePublishVolume and NodeUnpublishVolume, one after another.

    python -m benchmarks.csi_publish --pods 200 --standing 100

Real driver, agent, store (a pin is fsynced before each mount) and mounts, in a private mount namespace; needs root. The
model comes from a registry (Debian's docker-registry) on loopback and is small: a mount does not depend on its size.
``--standing`` other pods have it mounted meanwhile.

The rival, in the same namespace and with the same mounts in it: mount(8) twice and umount(8), as drivers made with
k8s.io/mount-utils do it (bind, then remount read-only: not atomic), without a call over a socket and without a pin.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from csi.proto import csi_pb2_grpc  # noqa: E402
from tests.support.csi_node import MODEL, CsiNode, Pod, why_no_mounts  # noqa: E402
from tests.support.processes import Server, free_port  # noqa: E402
from tests.support.registry import HOW_TO_GET, registry_missing, start_registry  # noqa: E402

WARMSET = [sys.executable, "-m", "cli.main"]
Times = dict[str, dict[str, float]]  # by call: milliseconds

# argv: the folder to show, then the targets. Prints how long each took to mount, then to unmount.
BY_MOUNT = """
import json, os, subprocess, sys, time
source, *targets = sys.argv[1:]
def timed(target, *commands):
    began = time.perf_counter()
    for command in commands:
        subprocess.run([*command, target], check=True)
    return (time.perf_counter() - began) * 1000
bind, guard = ["mount", "--bind", source], ["mount", "-o", "remount,bind,ro,nosuid,nodev"]
for target in targets:
    os.mkdir(target)
made = [timed(target, bind, guard) for target in targets]
print(json.dumps([made, [timed(target, ["umount"]) for target in targets]]))
"""


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=200)
    parser.add_argument("--standing", type=int, default=100)
    arguments = parser.parse_args()
    if problem := why_no_mounts() or (HOW_TO_GET if registry_missing() else ""):
        sys.exit(problem)
    with tempfile.TemporaryDirectory() as folder:
        show(await measure(Path(folder), pods=arguments.pods, standing=arguments.standing))


async def measure(folder: Path, *, pods: int, standing: int) -> dict[str, Times]:
    """By who did it, Warmset first."""
    registry = start_registry(folder / "registry")
    node = CsiNode(folder / "node")
    node.folder.mkdir()
    node.start()
    try:
        agent = start_agent(node, push_model(folder / "model", host=registry.host), host=registry.host)
        try:
            await node.start_driver()
            async with node.channel() as channel:
                stub = csi_pb2_grpc.NodeStub(channel)
                await until_warm(stub, node.pod())
                for pod in [node.pod() for _ in range(standing)]:
                    await stub.NodePublishVolume(pod.publish_request())
                mine, theirs = ([node.pod() for _ in range(pods)] for _ in range(2))
                return {
                    "warmset": await by_driver(stub, mine),
                    "mount(8)": await asyncio.to_thread(by_mount, node, theirs),
                }
        finally:
            agent.stop()
    finally:
        node.stop()
        registry.stop()


async def by_driver(stub: csi_pb2_grpc.NodeStub, pods: list[Pod]) -> Times:
    return {
        "publish": await each(pods, lambda pod: stub.NodePublishVolume(pod.publish_request())),
        "publish again": await each(pods, lambda pod: stub.NodePublishVolume(pod.publish_request())),
        "unpublish": await each(pods, lambda pod: stub.NodeUnpublishVolume(pod.unpublish_request())),
    }


def by_mount(node: CsiNode, pods: list[Pod]) -> Times:
    (tree,) = (node.cache / "trees").iterdir()
    command = [*node.enter, sys.executable, "-c", BY_MOUNT, str(tree), *(str(pod.target) for pod in pods)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    made, undone = json.loads(done.stdout)
    return {"publish": percentiles(made), "unpublish": percentiles(undone)}


def push_model(folder: Path, *, host: str) -> str:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(os.urandom(8 << 20))
    reference = f"oci://{host}/models/small:v1"
    command = [*WARMSET, "push", "--plain-http", str(folder), reference]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return reference


def start_agent(node: CsiNode, reference: str, *, host: str) -> Server:
    config = {
        "root": str(node.cache),
        "socket": str(node.agent_socket),
        "listen": f"127.0.0.1:{free_port()}",
        "plain_http": [host],
        "models": [{"name": MODEL, "source": reference}],
    }
    path = node.folder / "agent.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    environment = {"PYTHONPATH": str(ROOT)}
    return Server([*WARMSET, "agent", "--config", path], log=node.folder / "agent.log", env=environment)


async def until_warm(stub: csi_pb2_grpc.NodeStub, pod: Pod) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await stub.NodePublishVolume(pod.publish_request(), timeout=60)
                return
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.1)  # the agent's socket is not there yet


async def each(pods: list[Pod], call: Callable[[Pod], Awaitable[object]]) -> dict[str, float]:
    took = []
    for pod in pods:
        began = time.perf_counter()
        await call(pod)
        took.append((time.perf_counter() - began) * 1000)
    return percentiles(took)


def percentiles(values: list[float]) -> dict[str, float]:
    ranked = sorted(values)
    return {f"p{share}": ranked[min(len(ranked) - 1, len(ranked) * share // 100)] for share in (50, 95, 99)}


def show(found: dict[str, Times]) -> None:
    """One line a call; the ratio is that of the rival's median and 99th percentile to Warmset's."""
    print(f"load: {os.getloadavg()[0]:.1f}")
    print(f"{'':22} {'call':14} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'p50 x':>7} {'p99 x':>7}")
    for name, calls in found.items():
        for call, times in calls.items():
            mine = found["warmset"][call]
            ratios = (times[p] / mine[p] for p in ("p50", "p99"))
            print(f"{name:22} {call:14}", *(f"{ms:8.1f}" for ms in times.values()), *(f"{x:7.2f}" for x in ratios))


if __name__ == "__main__":
    asyncio.run(main())
