"""How long kubelet waits for a model that the node has: NodePublishVolume and NodeUnpublishVolume, one after another.

    python -m benchmarks.csi_publish --pods 200

Real driver, agent, store (a pin is fsynced before each mount) and mounts, in a private mount namespace; needs root. The
model comes from a registry (Debian's docker-registry) on loopback and is small: a mount does not depend on its size.
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


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=200)
    arguments = parser.parse_args()
    if problem := why_no_mounts() or (HOW_TO_GET if registry_missing() else ""):
        sys.exit(problem)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(await measure(Path(folder), pods=arguments.pods), indent=2))


async def measure(folder: Path, *, pods: int) -> dict[str, object]:
    """Milliseconds: median and 95th percentile of each call."""
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
                made = [node.pod() for _ in range(pods)]
                return {
                    "pods": pods,
                    "publish_ms": await each(made, lambda pod: stub.NodePublishVolume(pod.publish_request())),
                    "publish_again_ms": await each(made, lambda pod: stub.NodePublishVolume(pod.publish_request())),
                    "unpublish_ms": await each(made, lambda pod: stub.NodeUnpublishVolume(pod.unpublish_request())),
                }
        finally:
            agent.stop()
    finally:
        node.stop()
        registry.stop()


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
    took.sort()
    return {"p50": round(took[len(took) // 2], 1), "p95": round(took[int(len(took) * 0.95)], 1)}


if __name__ == "__main__":
    asyncio.run(main())
