"""How long an annotated pod is held when its node is warm already: from asking for the pod to its gate being gone.

    KUBEBUILDER_ASSETS=$(.ci/controlplane/build) python -m benchmarks.gate --pods 100

Real etcd and kube-apiserver on loopback, a real controller with its webhook in this process, agents played by their
statuses. "Created" is the part that admission takes: from the request to the API server's answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from api import keys
from cli.logs import log_json
from kube.client import Client
from kube.reflector import Key, Reflector
from kube.resources import POD
from tests.support.control import TEAM, agent_says, controlling, install_crds, make_model, make_node, pod
from tests.support.controlplane import HOW_TO_GET, missing_binaries, start_control_plane

NODES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=100)
    arguments = parser.parse_args()
    if missing_binaries():
        sys.exit(HOW_TO_GET)
    log_json(verbose=False)  # to stderr
    with tempfile.TemporaryDirectory() as folder:
        plane = start_control_plane(Path(folder))
        try:
            print(json.dumps(asyncio.run(measure(plane.kubeconfig, pods=arguments.pods)), indent=2))
        finally:
            plane.stop()


async def measure(kubeconfig: Path, *, pods: int) -> dict[str, Any]:
    free_at: dict[str, float] = {}
    freed = asyncio.Event()

    def on_change(key: Key, old: object, new: dict[str, Any] | None) -> None:
        if new is not None and not new["spec"].get("schedulingGates"):
            free_at.setdefault(key[1], time.perf_counter())
            freed.set()

    created, held = [], []
    async with await Client.connect(kubeconfig=kubeconfig) as client:
        await install_crds(client)
        async with controlling(client):
            await make_model(client)
            for index in range(NODES):
                await make_node(client, f"n{index}", gpus=pods)
                await agent_says(client, f"n{index}", {"llama": "Ready"})
            watch = Reflector(client, POD, namespace=TEAM, on_change=on_change)
            watching = asyncio.create_task(watch.run())
            await watch.synced.wait()
            for index in range(pods):
                name, begun = f"p{index}", time.perf_counter()
                await client.create(POD, pod(name, annotations={keys.MODEL: "llama"}, gpus=1), namespace=TEAM)
                created.append(time.perf_counter() - begun)
                while name not in free_at:
                    freed.clear()
                    await freed.wait()
                held.append(free_at[name] - begun)
            watching.cancel()
    return {"pods": pods, "created_ms": _summary(created), "gate_gone_ms": _summary(held)}


def _summary(seconds: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds) * 1000, 1),
        "p95": round(statistics.quantiles(seconds, n=20)[-1] * 1000, 1),
        "max": round(max(seconds) * 1000, 1),
    }


if __name__ == "__main__":
    main()
