"""A group of nodes pulls one model together: time until all are warm, and bytes that left the origin.

    python -m benchmarks.group --total 256MiB --rate 64MiB [--nodes 1 2 4 8]

Everything runs on loopback, without root: the origin limits what it sends in all, and each node what it takes in, to
the same rate, so that one node alone is as fast as any can be. What nodes send to each other is not limited: shaping
their uplinks needs network namespaces. Each node is an agent in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from demo.__main__ import push, wait_for_origin  # noqa: E402
from demo.group import Agent, Process, environment_without_proxies, free_port, get_json  # noqa: E402

MIB = 1 << 20
LIMIT_S = 600.0


@dataclass(frozen=True)
class Result:
    seconds: float  # from the first start until all that live are warm
    copies: float  # of the model, out of the origin
    peers: float  # of the model, taken from peers, a node


@dataclass(frozen=True)
class Bench:
    folder: Path
    source: str
    origin: str
    size: int
    rate: int

    def sent(self) -> int:
        sent: int = get_json(f"http://{self.origin}/stats")["bytes_sent"]
        return sent

    def run(self, name: str, *, nodes: int, exchange: bool = True, trouble: Callable[[list[Agent]], None] | None = None,
            late: float = 0.0) -> Result:  # fmt: skip
        """``trouble`` is done once when the first node is half through; the last node starts ``late`` seconds later."""
        before = self.sent()
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(nodes)]
        started = time.monotonic()
        with ExitStack() as running:
            agents: list[Agent] = []

            def start(number: int) -> None:
                listen = addresses[number]
                agent = Agent(
                    f"{name}-{number}",
                    folder=self.folder,
                    source=self.source,
                    origin=self.origin,
                    listen=listen,
                    group=addresses if exchange else [listen],
                    limit=self.rate,
                )
                running.callback(agent.stop)
                agents.append(agent)

            for number in range(nodes - 1 if late else nodes):
                start(number)
            begun = None
            while True:
                views = [agent.view() for agent in agents if not agent.ended]
                if not views:
                    raise SystemExit(f"{name}: {agents[0].log.read_text()}")
                if begun is None and any(view.done for view in views):
                    begun = time.monotonic()  # starting an interpreter is no part of it
                if trouble is not None and views[0].done > self.size / 2:
                    trouble(agents)
                    trouble = None
                    continue
                if late and len(agents) < nodes and time.monotonic() - started > late:
                    start(nodes - 1)
                    continue
                if len(agents) == nodes and all(view.ready for view in views) and trouble is None:
                    break
                if time.monotonic() - started > LIMIT_S or any(view.state == "Failed" for view in views):
                    raise SystemExit(f"{name}: not warm: {views}")
                time.sleep(0.05)
            seconds = time.monotonic() - (begun or started)
            peers = sum(view.peers for view in views) / len(views) / self.size
        return Result(seconds, (self.sent() - before) / self.size, peers)


def kill_last(agents: list[Agent]) -> None:
    agents[-1].kill()


def size(text: str) -> int:
    number = text.lower().removesuffix("b").removesuffix("i")
    return int(float(number[:-1]) * {"m": 2**20, "g": 2**30}[number[-1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--total", type=size, default=size("256MiB"))
    parser.add_argument("--rate", type=size, default=size("64MiB"), help="bytes a second of the origin, and of a node")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk, not tmpfs")
    arguments = parser.parse_args()
    environment_without_proxies()
    with tempfile.TemporaryDirectory(prefix="warmset-group-", dir=arguments.folder) as name, ExitStack() as running:
        folder = Path(name)
        (folder / "model").mkdir()
        for index in range(4):
            with (folder / "model" / f"model-{index}.safetensors").open("wb") as file:
                for _ in range(arguments.total // 4 // MIB):
                    file.write(os.urandom(MIB))
        address = f"127.0.0.1:{free_port()}"
        origin = Process(
            ["demo.origin", str(folder / "origin"), address.rpartition(":")[2], str(arguments.rate)],
            log=folder / "origin.log",
        )
        running.callback(origin.stop)
        wait_for_origin(origin, address)
        source = f"oci://{address}/bench/model:v1"
        push(folder / "model", source)
        bench = Bench(folder, source, address, arguments.total, arguments.rate)
        print(f"{arguments.total // MIB} MiB at {arguments.rate // MIB} MiB/s; {os.cpu_count()} CPUs")
        print(f"{'':34} {'seconds':>8} {'copies':>7} {'from peers':>11}")

        def show(text: str, result: Result) -> None:
            print(f"{text:34} {result.seconds:8.1f} {result.copies:7.2f} {result.peers:11.2f}", flush=True)

        for nodes in arguments.nodes:
            show(f"{nodes} nodes", bench.run(f"n{nodes}", nodes=nodes))
        most = max(arguments.nodes)
        if most > 2:
            show(f"{most} nodes, no exchange", bench.run("alone", nodes=most, exchange=False))
            show(f"{most} nodes, one killed at half", bench.run("killed", nodes=most, trouble=kill_last))
            late = arguments.total / arguments.rate * 3
            show(f"{most} nodes, one joins when warm", bench.run("late", nodes=most, late=late))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
