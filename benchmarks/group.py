"""A group of nodes pulls one model together: time until all are warm, and bytes that left the origin.

    python -m benchmarks.group [--total 256MiB] [--rate 16MiB] [--nodes 1 2 4 8] [--json group.json]
    python -m benchmarks.group_plot group.json docs/group.svg

As root, each node is a network namespace whose link carries one unit, --rate, in each direction, and so is the origin.
Without root everything runs on loopback: the origin limits what it sends and each node what it takes in; what nodes
send to each other is then not limited, and the cases of slow uplinks are left out. A node is a process with an agent.

Take a unit that leaves the processors idle: eight nodes move sixteen units of bytes through one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.group_net import Loopback, Net, Shaped  # noqa: E402
from cache.store.files import remove_folder  # noqa: E402
from demo.__main__ import push, wait_for_origin  # noqa: E402
from demo.group import Agent, NodeView, environment_without_proxies, get_json  # noqa: E402
from tests.support.namespaces import why_no_namespaces  # noqa: E402

MIB = 1 << 20
FILES = 4
LIMIT_UNITS = 20.0  # of one node's time; past this a case has failed
SPREAD = 0.25  # of one node's time, over which starts are spread

Happening = Callable[[list[Agent]], None]


@dataclass(frozen=True)
class Result:
    case: str
    nodes: int
    seconds: float  # until all that live are warm
    copies: float  # of the model, out of the origin
    peers: float  # of the model, taken from peers, a node
    cpu_s: float  # processor time of the agents that live, meanwhile


@dataclass(frozen=True)
class Ended:
    seconds: float
    views: list[NodeView]
    cpu_s: float


@dataclass
class Bench:
    net: Net
    folder: Path
    source: str
    size: int
    unit_s: float  # what the model takes over one link
    made: int = 0
    results: list[Result] = field(default_factory=list)

    def sent(self) -> int:
        sent: int = get_json(f"http://{self.net.origin}/stats")["bytes_sent"]
        return sent

    def case(
        self,
        case: str,
        *,
        nodes: int,
        exchange: bool = True,
        slow: Sequence[int] = (),
        half: Happening | None = None,
        delays_s: Sequence[float] = (),
        late: bool = False,
        again: bool = False,
    ) -> None:
        """One row. ``half`` happens once, when a node is half through; node ``n`` starts ``delays_s[n]`` after the
        first byte of node 0.

        ``late`` measures one more node that joins when all are warm, and ``again`` a new start on the same disks.
        """
        self.made += 1
        addresses = self.net.begin(nodes)
        for number in slow:
            self.net.slow_uplink(number)
        with ExitStack() as running:
            running.callback(self._clear)  # after they are stopped

            def start(number: int) -> Agent:
                listen = addresses[number]
                agent = self.net.agent(
                    f"{self.made}-{number}",
                    number,
                    source=self.source,
                    group=addresses if exchange else [listen],
                    listen=listen,
                )
                running.callback(agent.stop)
                return agent

            if late or again:
                agents = [start(number) for number in range(nodes - 1 if late else nodes)]
                self._until_warm(agents)
                if again:
                    for agent in agents:
                        agent.stop()
                before = self.sent()
                began = time.monotonic() if again else None  # where nothing is fetched, the start is all there is
                joined = [start(nodes - 1)] if late else [start(number) for number in range(nodes)]
                self._note(case, nodes, self._until_warm(joined, began=began), before)
                return
            before = self.sent()
            if delays_s:
                agents = [start(0)]
                self._wait(agents, lambda views: views[0].done > 0)
                began = time.monotonic()
                for number in range(1, nodes):
                    time.sleep(max(0.0, began + delays_s[number] - time.monotonic()))
                    agents.append(start(number))
                self._note(case, nodes, self._until_warm(agents, began=began), before)
                return
            # Starting so many interpreters takes seconds, which are no part of it: let all begin at once.
            self._tell_origin("hold")
            agents = [start(number) for number in range(nodes)]
            self._wait(agents, lambda views: all(view.state == "Pulling" for view in views))
            self._tell_origin("release")
            self._note(case, nodes, self._until_warm(agents, half=half, began=time.monotonic()), before)

    def _clear(self) -> None:
        """The next case needs the room."""
        for caches in self.folder.glob(f"{self.made}-*/cache"):
            remove_folder(caches)

    def _until_warm(self, agents: list[Agent], *, half: Happening | None = None, began: float | None = None) -> Ended:
        """Seconds since ``began``, or else since the first byte came."""
        happened = half is None
        spent = {agent.pid: agent.cpu_s for agent in agents}

        def done(views: list[NodeView]) -> bool:
            nonlocal began, happened
            if began is None and any(view.done for view in views):
                began = time.monotonic()
            if half is not None and not happened and any(view.done > self.size / 2 for view in views):
                half(agents)
                happened = True
                return False
            return happened and all(view.ready for view in views)

        views = self._wait(agents, done)
        seconds = time.monotonic() - (began if began is not None else time.monotonic())
        return Ended(seconds, views, sum(agent.cpu_s - spent[agent.pid] for agent in agents if not agent.ended))

    def _wait(self, agents: list[Agent], done: Callable[[list[NodeView]], bool]) -> list[NodeView]:
        deadline = time.monotonic() + LIMIT_UNITS * self.unit_s + 60
        while True:
            views = [agent.view() for agent in agents if not agent.ended]
            if not views:
                raise SystemExit(agents[0].log.read_text())
            if done(views):
                return views
            if time.monotonic() > deadline or any(view.state == "Failed" for view in views):
                raise SystemExit(f"not warm: {views}")
            time.sleep(0.05)

    def _note(self, case: str, nodes: int, ended: Ended, before: int) -> None:
        peers = sum(view.peers for view in ended.views) / len(ended.views) / self.size
        result = Result(case, nodes, ended.seconds, (self.sent() - before) / self.size, peers, ended.cpu_s)
        self.results.append(result)
        one = next((r.seconds for r in self.results if r.case == "exchange" and r.nodes == 1), self.unit_s)
        print(
            f"{case:26} {nodes:5} {result.seconds:8.1f} {result.seconds / one:7.2f} {result.copies:7.3f} {peers:11.2f}"
            f" {result.cpu_s:6.1f}",
            flush=True,
        )

    def _tell_origin(self, what: str) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(urllib.request.Request(f"http://{self.net.origin}/{what}", method="POST"), timeout=5).close()


def kill_last(agents: list[Agent]) -> None:
    agents[-1].kill()


def run(bench: Bench, nodes: Sequence[int], *, only: Collection[str]) -> None:
    def case(name: str, **options: Any) -> None:
        if not only or name in only:
            bench.case(name, **options)

    for count in nodes:
        case("exchange", nodes=count)
    for count in nodes:
        if count > 1:
            case("no exchange", nodes=count, exchange=False)
    most = max(nodes)
    if most < 3:
        return
    case("one killed at half", nodes=most, half=kill_last)
    case("late joiner", nodes=most, late=True)
    case("warm restart", nodes=most, again=True)
    case("spread starts", nodes=most, delays_s=[i * SPREAD * bench.unit_s / (most - 1) for i in range(most)])
    if bench.net.can_slow_uplinks:
        case("one uplink at 10 %", nodes=most, slow=[1])
        case("two uplinks at 10 %", nodes=most, slow=[1, 2])


def size(text: str) -> int:
    number = text.lower().removesuffix("b").removesuffix("i")
    return int(float(number[:-1]) * {"k": 2**10, "m": 2**20, "g": 2**30}[number[-1]])


def make_model(folder: Path, total: int) -> None:
    draw = random.Random(1)  # the same owners in each run: the exchange's id is made of the model's digest
    folder.mkdir()
    for index in range(FILES):
        with (folder / f"model-{index}.safetensors").open("wb") as file:
            for _ in range(total // FILES // MIB):
                file.write(draw.randbytes(MIB))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--total", type=size, default=size("256MiB"))
    parser.add_argument("--rate", type=size, default=size("16MiB"), help="the unit: bytes a second of each link")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="cases by their names in the table")
    parser.add_argument("--mode", choices=["auto", "namespaces", "loopback"], default="auto")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk, not tmpfs")
    parser.add_argument("--json", type=Path, help="also write the results here, for the plot")
    arguments = parser.parse_args()
    missing = why_no_namespaces()
    if arguments.mode == "namespaces" and missing:
        raise SystemExit(missing)
    shaped = arguments.mode != "loopback" and not missing
    with tempfile.TemporaryDirectory(prefix="warmset-group-", dir=arguments.folder) as name, ExitStack() as stack:
        folder = Path(name)
        make_model(folder / "model", arguments.total)
        net: Net
        if shaped:
            net = Shaped(stack, folder, rate=arguments.rate, nodes=max(arguments.nodes))
        else:
            net = Loopback(stack, folder, rate=arguments.rate)
        environment_without_proxies()
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
        wait_for_origin(net.origin_process, net.origin)
        source = f"oci://{net.origin}/bench/model"
        push(folder / "model", f"{source}:v1")
        revision = get_json(f"http://{net.origin}/stats")["manifest"]
        bench = Bench(net, folder, f"{source}@{revision}", arguments.total, arguments.total / arguments.rate)
        print(f"{net.name}: {arguments.total // MIB} MiB, unit {arguments.rate // MIB} MiB/s; {os.cpu_count()} CPUs")
        print(f"{'':26} {'nodes':>5} {'seconds':>8} {'x one':>7} {'copies':>7} {'from peers':>11} {'CPU s':>6}")
        run(bench, arguments.nodes, only=arguments.only)
        if arguments.json:
            said = {
                "mode": net.name,
                "total_bytes": arguments.total,
                "unit_bytes_per_second": arguments.rate,
                "cpus": os.cpu_count(),
                "results": [asdict(result) for result in bench.results],
            }
            arguments.json.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
