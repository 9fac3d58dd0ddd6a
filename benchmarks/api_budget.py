"""What a large idle cluster costs its API server: status writes a second, their latency, and the memory it takes.

    KUBEBUILDER_ASSETS=$(.ci/controlplane/build) python -m benchmarks.api_budget --agents 5000 --seconds 1300

Real etcd and kube-apiserver on loopback, and a real controller as a process of its own, which makes a NodeCache for
each of as many Nodes. The agents share one process; each is what a node's agent is to the API server: the watch of its
own object and the reporter, with the agent's own code. They hold one model that is Ready and nothing changes, so all
that they write is a sign of life every 10 min; two rounds fit into 1,300 s. ``--idle-s`` shortens that for a quick
look: 500 agents with 60 s write as often as 5,000 do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from api.resources import NodeCacheStatus, NodeModelStatus
from benchmarks.measure import ROOT, peak_memory_kib
from controller.objects.resources import NODE_CACHE
from daemonset import report
from daemonset.changed import Changed
from daemonset.cluster import NodeCacheLink
from daemonset.report import Reporter
from kube.client import Client
from kube.resources import NAMESPACE
from tests.support.control import HOME, install_crds, make_node
from tests.support.controlplane import HOW_TO_GET, ControlPlane, missing_binaries, start_control_plane
from tests.support.processes import Server, free_port

PER_CLIENT = 50  # agents: each holds a connection for its watch, of the 100 that a client may have
AT_ONCE = 16  # requests while the cluster is made
TARGET_PER_S = 10.0  # docs/architecture: what 5,000 idle nodes may write
PEAK_S = 10


@dataclass
class Writes:
    """When each began, and how long it took, in seconds."""

    at: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=1300.0, help="how long to watch the idle cluster")
    parser.add_argument("--idle-s", type=float, default=report.IDLE_S, help="time between an agent's signs of life")
    arguments = parser.parse_args()
    if missing_binaries():
        sys.exit(HOW_TO_GET)
    report.IDLE_S = arguments.idle_s
    with tempfile.TemporaryDirectory() as folder:
        plane = start_control_plane(Path(folder))
        try:
            found = asyncio.run(measure(plane, agents=arguments.agents, seconds=arguments.seconds))
        finally:
            plane.stop()
    print(json.dumps(found, indent=2))


async def measure(plane: ControlPlane, *, agents: int, seconds: float) -> dict[str, Any]:
    async with await Client.connect(kubeconfig=plane.kubeconfig) as admin:
        await install_crds(admin)
        home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}
        await admin.patch(NAMESPACE, HOME, home, kind="apply")
        names = [f"node-{index:05}" for index in range(agents)]
        await _each(names, lambda name: make_node(admin, name))
        controllers = [_start_controller(plane)]
        await _until(admin, agents)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            writes, running = Writes(), [tasks.create_task(_keep_running(plane, controllers))]
            for first in range(0, agents, PER_CLIENT):
                client = await stack.enter_async_context(await Client.connect(kubeconfig=plane.kubeconfig))
                for name in names[first : first + PER_CLIENT]:
                    running += [tasks.create_task(job) for job in _agent(client, name, writes)]
            while len(writes.at) < agents:  # noqa: ASYNC110 (counted by many tasks)
                await asyncio.sleep(0.5)
            starts_s = max(writes.at) - min(writes.at)
            begun = time.monotonic()
            await asyncio.sleep(seconds)
            memory = {name: _memory_mib(server) for name, server in _processes(plane, controllers[-1]).items()}
            for task in running:
                task.cancel()
    return _result(writes, begun, seconds, agents=agents) | {
        "starts_s": round(starts_s, 1),
        "controller_restarts": len(controllers) - 1,
        "peak_rss_mib": memory,
    }


def _agent(client: Client, name: str, writes: Writes) -> list[Coroutine[Any, Any, Any]]:
    """The two jobs of an agent that concern the API server."""

    async def current() -> NodeCacheStatus:
        model = NodeModelStatus(model="0" * 32, revision="sha256:" + "a" * 64, state="Ready", bytes_total=10**11)
        return NodeCacheStatus(node_uid=link.owner_uid, cache_id=name, capacity=10**13, used=10**11, models=[model])

    async def write(status: NodeCacheStatus) -> None:
        begun = time.monotonic()
        await link.write(status)
        writes.at.append(begun)
        writes.took.append(time.monotonic() - begun)

    reporter = Reporter(current=current, write=write, changed=Changed())
    link = NodeCacheLink(client, node=name, on_desired=lambda desired: None, on_new=reporter.forget)
    return [link.run(), reporter.run()]


def _start_controller(plane: ControlPlane) -> Server:
    file = plane.folder / "controller.yaml"
    addresses = {key: f"127.0.0.1:{free_port()}" for key in ("listen_https", "listen_http")}
    file.write_text(yaml.safe_dump({"namespace": HOME, **addresses}))
    command = [sys.executable, "-m", "cli.main", "controller", "--config", file, "--kubeconfig", plane.kubeconfig]
    server = Server(command, log=plane.folder / "controller.log", env={"PYTHONPATH": str(ROOT)})
    plane.servers.append(server)
    return server


async def _keep_running(plane: ControlPlane, controllers: list[Server]) -> None:
    """As kubelet does: a leader that cannot renew its Lease, as while all agents start on two cores, ends."""
    while True:
        await asyncio.sleep(1.0)
        if controllers[-1].process.poll() is not None:
            controllers.append(_start_controller(plane))


async def _until(client: Client, agents: int) -> None:
    """The controller has made all NodeCaches."""
    while len(await client.list(NODE_CACHE)) < agents:  # noqa: ASYNC110 (asked of the API server)
        await asyncio.sleep(1.0)


async def _each(names: list[str], work: Callable[[str], Coroutine[Any, Any, Any]]) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with slots:
            await work(name)

    await asyncio.gather(*map(one, names))


def _processes(plane: ControlPlane, controller: Server) -> dict[str, Server]:
    etcd, apiserver = plane.servers[:2]
    return {"controller": controller, "kube-apiserver": apiserver, "etcd": etcd}


def _memory_mib(server: Server) -> int:
    return round(peak_memory_kib(server.process.pid) / 1024)


def _result(writes: Writes, begun: float, seconds: float, *, agents: int) -> dict[str, Any]:
    idle = [(at, took) for at, took in zip(writes.at, writes.took, strict=True) if begun <= at <= begun + seconds]
    peaks = Counter(int((at - begun) // PEAK_S) for at, _ in idle)
    found: dict[str, Any] = {
        "agents": agents,
        "seconds": seconds,
        "idle_writes": len(idle),
        "idle_writes_per_s": round(len(idle) / seconds, 2),
        "target_per_s": TARGET_PER_S,
        f"most_in_{PEAK_S}_s_per_s": round(max(peaks.values(), default=0) / PEAK_S, 2),
    }
    if len(idle) > 1:
        cuts = statistics.quantiles([took for _, took in idle], n=100)
        found["write_ms"] = {"p50": round(cuts[49] * 1000, 1), "p99": round(cuts[98] * 1000, 1)}
    return found


if __name__ == "__main__":
    main()
