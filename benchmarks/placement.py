"""How often a released group lands on the nodes that were warmed for it, with the real kube-scheduler.

    KUBEBUILDER_ASSETS=$(.ci/controlplane/build) python -m benchmarks.placement --nodes 300 --tries 100

Real etcd, kube-apiserver and kube-scheduler on loopback, a real controller with its webhook in this process; nodes are
Node objects, agents are played by their statuses. In each try four nodes of a random rack are warm, and a
LeaderWorkerSet group of four pods that take a whole node each is made: once with exclusive topology over racks, so
that the group asked for a level, and once without. A try counts when all four pods are bound to the four warm nodes.
The rival is the scheduler by itself: the same pods without asking for weights.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api import keys
from cli.logs import log_json
from kube.client import Client, Object
from kube.resources import POD
from tests.support import lws
from tests.support.control import TEAM, agent_says, controlling, install_crds, make_model, make_node, pod
from tests.support.controlplane import HOW_TO_GET, missing_binaries, start_control_plane
from tests.support.installation import eventually

RACK = "example.com/rack"
RACK_SIZE = 6
GROUP_SIZE = 4
GPUS = 8  # of a node, and of a pod
AT_ONCE = 16  # writes while the cluster is made
PATIENCE_S = 60.0  # for one try


@dataclass(frozen=True)
class Way:
    """``asks`` for weights; ``level``: with exclusive topology."""

    asks: bool
    level: bool


WAYS = {
    "with a level": Way(asks=True, level=True),
    "without a level": Way(asks=True, level=False),
    "scheduler alone": Way(asks=False, level=False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, action="append", help="only this one; default: all")
    arguments = parser.parse_args()
    if missing_binaries():
        sys.exit(HOW_TO_GET)
    log_json(verbose=False)  # to stderr
    with tempfile.TemporaryDirectory() as folder:
        plane = start_control_plane(Path(folder))
        try:
            plane.start_scheduler()
            ways = {name: WAYS[name] for name in arguments.way or WAYS}
            asyncio.run(
                measure(plane.kubeconfig, ways, nodes=arguments.nodes, tries=arguments.tries, seed=arguments.seed)
            )
        finally:
            plane.stop()


async def measure(kubeconfig: Path, ways: dict[str, Way], *, nodes: int, tries: int, seed: int) -> None:
    """Prints a line of JSON for each way, when it is done."""
    draw = random.Random(seed)
    async with await Client.connect(kubeconfig=kubeconfig) as client:
        await install_crds(client)
        async with controlling(client):
            await make_model(client)
            racks = await _make_nodes(client, nodes)
            for name, way in ways.items():
                rate = await _rate(client, way, racks, tries=tries, draw=draw)
                print(json.dumps({"nodes": nodes, "way": name, "tries": tries} | rate), flush=True)


async def _rate(
    client: Client, way: Way, racks: dict[str, list[str]], *, tries: int, draw: random.Random
) -> dict[str, Any]:
    groups = pods = 0
    rack_of = {name: rack for rack, names in racks.items() for name in names}
    begun = time.perf_counter()
    for number in range(tries):
        rack = draw.choice(sorted(racks))
        warm = draw.sample(racks[rack], GROUP_SIZE)
        landed = await _try(client, way, f"vllm{number}", rack_of=rack_of, warm=warm)
        groups += landed == set(warm)
        pods += len(landed & set(warm))
    seconds = round(time.perf_counter() - begun, 1)
    return {"groups_on_target": groups, "pods_on_target": pods, "pods": tries * GROUP_SIZE, "seconds": seconds}


async def _try(client: Client, way: Way, name: str, *, rack_of: dict[str, str], warm: list[str]) -> set[str]:
    """The nodes that the group's pods were bound to."""
    await asyncio.gather(*(agent_says(client, node, {"llama": "Ready"}) for node in warm))
    try:
        leader = await client.create(POD, _pod(name, 0, way), namespace=TEAM)
        place = {}
        if way.level:  # LWS makes the workers when the leader is bound, and pins them to its domain
            (first,) = await _bound(client, name, 1)
            place = {RACK: rack_of[first]}
        workers = (_pod(name, index, way, leader=leader, selector=place) for index in range(1, GROUP_SIZE))
        await asyncio.gather(*(client.create(POD, worker, namespace=TEAM) for worker in workers))
        return await _bound(client, name, GROUP_SIZE)
    finally:
        for body in await client.list(POD, namespace=TEAM):
            await client.delete(POD, body["metadata"]["name"], namespace=TEAM, grace_s=0)
        await asyncio.gather(*(agent_says(client, node) for node in warm))


async def _bound(client: Client, name: str, count: int) -> set[str]:
    nodes: set[str] = set()

    async def so() -> bool:
        bodies = await client.list(POD, namespace=TEAM)
        nodes.update(body["spec"]["nodeName"] for body in bodies if body["spec"].get("nodeName"))
        return len(nodes) == count

    await eventually(so, what=f"{count} pods of {name} bound", within_s=PATIENCE_S)
    return nodes


def _pod(
    name: str, index: int, way: Way, *, leader: Object | None = None, selector: dict[str, str] | None = None
) -> Object:
    leader_name = f"{name}-0"
    annotations = {lws.PREFIX + "size": str(GROUP_SIZE)}
    if way.asks:
        annotations[keys.MODEL] = "llama"
    if way.level:
        annotations[lws.PREFIX + "exclusive-topology"] = RACK
    if leader is not None:
        annotations[lws.PREFIX + "leader-name"] = leader_name
    body = pod(leader_name if leader is None else f"{leader_name}-{index}", annotations=annotations, gpus=GPUS)
    body["spec"]["nodeSelector"] = selector or {}
    body["metadata"]["labels"] = {
        lws.PREFIX + "name": name,
        lws.PREFIX + "worker-index": str(index),
        lws.PREFIX + "template-revision-hash": lws.REVISION,
    }
    if leader is not None:
        owner = {"apiVersion": "v1", "kind": "Pod", "name": leader_name, "uid": leader["metadata"]["uid"]}
        body["metadata"]["ownerReferences"] = [owner | {"controller": True}]
    return body


async def _make_nodes(client: Client, count: int) -> dict[str, list[str]]:
    """Racks with their nodes, each with an agent that holds nothing."""
    slots = asyncio.Semaphore(AT_ONCE)
    racks: dict[str, list[str]] = {}

    async def one(name: str, rack: str) -> None:
        async with slots:
            await make_node(client, name, gpus=GPUS, labels={RACK: rack})
            await agent_says(client, name)

    for index in range(count - count % RACK_SIZE):
        racks.setdefault(f"r{index // RACK_SIZE}", []).append(f"n{index}")
    await asyncio.gather(*(one(name, rack) for rack, names in racks.items() for name in names))
    return racks


if __name__ == "__main__":
    main()
