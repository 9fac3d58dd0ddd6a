"""The demo's story: make, pack and serve a model; warm a group cold, then again; check every byte; say what it took."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from demo.group import MODEL, Agent, NodeView, Process, environment_without_proxies, free_port, get_json
from demo.sample import make_model, sha256
from demo.table import MIB, follow

NODES = 4
ORIGIN_BYTES_PER_SECOND = 64 * MIB
LIMIT_S = 75.0  # past this a warm-up has failed
DISK_BYTES = (NODES + 2) * 300 * MIB  # the sample, the origin's copy, and one a node

console = Console(highlight=False)


class Failed(Exception):
    """Something is off; the message says what."""


def main() -> int:
    environment_without_proxies()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # ends like Ctrl-C, and takes the children along
    try:
        with tempfile.TemporaryDirectory(prefix="warmset-demo-") as name:
            run(Path(name))
    except Failed as error:
        console.print(f"demo failed: {error}", style="red")
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; nothing is left behind")
        return 130
    return 0


def run(folder: Path) -> None:
    if shutil.disk_usage(folder).free < DISK_BYTES:
        raise Failed(f"needs {DISK_BYTES // MIB} MiB free in {folder.parent}; set TMPDIR to a larger disk")
    with ExitStack() as running:
        console.print("making a sample model of 256 MiB (random safetensors, config, tokenizer)")
        expected = make_model(folder / "model")
        size = sum(path.stat().st_size for path in (folder / "model").iterdir())

        address = f"127.0.0.1:{free_port()}"
        origin = Process(
            ["demo.origin", str(folder / "origin"), address.rpartition(":")[2], str(ORIGIN_BYTES_PER_SECOND)],
            log=folder / "origin.log",
        )
        running.callback(origin.stop)
        wait_for_origin(origin, address)
        source = f"oci://{address}/demo/{MODEL}:v1"
        console.print(f"packing and pushing it to a registry that sends {ORIGIN_BYTES_PER_SECOND // MIB} MiB/s in all")
        push(folder / "model", source)

        console.print(f"starting {NODES} agents and warming the group, cold")
        cold_s, cold = warm_group(folder, source=source, origin=address)
        left_origin = get_json(f"http://{address}/stats")["bytes_sent"]
        check_bytes(folder, cold, expected)

        console.print("stopping them, and starting them again on the same disks")
        warm_s, warm = warm_group(folder, source=source, origin=address)
        again = get_json(f"http://{address}/stats")["bytes_sent"] - left_origin
        check_bytes(folder, warm, expected)
        if again:
            raise Failed(f"the warm start took {again} bytes from the origin; it should take none")

    copies = left_origin / size
    console.print()
    console.print(f"group of {NODES} warm, cold start:   {cold_s:6.1f} s")
    console.print(f"group of {NODES} warm, again:        {warm_s:6.1f} s  (agents' own start included)")
    console.print(f"bytes that left the origin:    {left_origin / MIB:6.0f} MiB = {copies:.2f} copies of the model")
    console.print(f"checked: all {len(expected)} files on each of {NODES} nodes have the bytes that were packed")


def push(model: Path, source: str) -> None:
    command = [sys.executable, "-m", "cli.main", "push", str(model), source, "--plain-http"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"push ended with {done.returncode}: {done.stderr.strip()}")


def warm_group(folder: Path, *, source: str, origin: str) -> tuple[float, Sequence[NodeView]]:
    """Start the agents, follow them until all are warm, stop them. Seconds it took, and what each said at last."""
    started = time.monotonic()
    with ExitStack() as running:
        agents = []
        group = [f"127.0.0.1:{free_port()}" for _ in range(NODES)]
        for number, listen in enumerate(group):
            agent = Agent(f"node-{number}", folder=folder, source=source, origin=origin, listen=listen, group=group)
            running.callback(agent.stop)
            agents.append(agent)

        def settled(views: Sequence[NodeView]) -> bool:
            for view in views:
                if view.state in ("Ended", "Failed"):
                    raise Failed(f"{view.name}: {view.state} {view.reason}\n{tail(folder / f'{view.name}.log')}")
            if time.monotonic() - started > LIMIT_S:
                raise Failed(f"not warm after {LIMIT_S:.0f} s: {views}")
            return all(view.ready for view in views)

        views = follow(console, lambda: [agent.view() for agent in agents], done=settled)
        return time.monotonic() - started, views


def check_bytes(folder: Path, views: Sequence[NodeView], expected: dict[str, str]) -> None:
    """Every node's tree has exactly the packed files, by a hash made here and not by Warmset."""
    if len({view.tree for view in views}) != 1:
        raise Failed(f"the nodes hold different trees: {[view.tree for view in views]}")
    for view in views:
        tree = folder / view.name / "cache" / "trees" / view.tree.removeprefix("sha256:")
        actual = {path.relative_to(tree).as_posix(): sha256(path) for path in tree.rglob("*") if path.is_file()}
        if actual != expected:
            different = sorted(k for k in actual.keys() | expected.keys() if actual.get(k) != expected.get(k))
            raise Failed(f"{view.name}: {tree} is not what was packed; look at {different}")


def wait_for_origin(origin: Process, address: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            get_json(f"http://{address}/stats")
            return
        except OSError as error:
            if origin.ended or time.monotonic() > deadline:
                raise Failed(f"the demo's registry did not start\n{tail(origin.log)}") from error
            time.sleep(0.05)


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
