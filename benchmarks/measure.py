"""What the benchmarks of pulling share: a child process measured, and a table of how several clients did."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # clients run as they are when installed: with their modules compiled
Command = Sequence[str | Path]
WARMSET = Path(sys.executable).with_name("warmset")  # as users start it: -m would cost the import of runpy


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_s: float
    rss_mib: float


def measured(command: Command) -> Run:
    """Wall time, CPU and peak memory of one child process."""
    os.sync()
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output, cwd=ROOT)
        peak_kib = 0
        while True:
            # Not ru_maxrss: that also counts what this process held when it forked.
            peak_kib = max(peak_kib, peak_memory_kib(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(0.002)  # what a run may seem longer than it was: little even beside a warm pull
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{command[0]} failed:\n{output.read().decode(errors='replace')[-2000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak_kib / 1024)


def peak_memory_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def show(title: str, results: Mapping[str, Sequence[Run]], *, floors: Sequence[str] = ()) -> None:
    """One line a client: its best run, as a ratio to the slowest of ``floors`` and to Warmset."""
    best = {name: min(runs, key=lambda run: run.seconds) for name, runs in results.items()}
    floor_s = max((best[name].seconds for name in floors if name in best), default=None)
    mine_s = next((run.seconds for name, run in best.items() if name.startswith("warmset")), None)
    runs = max(len(runs) for runs in results.values())
    print(f"\n{title}, runs: {runs}, load: {os.getloadavg()[0]:.1f}")
    print(f"{'client':18} {'best s':>8} {'median s':>9} {'x floor':>8} {'x warmset':>10} {'CPU s':>7} {'RSS MiB':>8}")
    for name, run in best.items():
        middle = statistics.median(each.seconds for each in results[name])
        to_floor = f"{run.seconds / floor_s:8.2f}" if floor_s else " " * 8
        to_mine = f"{run.seconds / mine_s:10.2f}" if mine_s else " " * 10
        print(f"{name:18} {run.seconds:8.3f} {middle:9.3f} {to_floor} {to_mine} {run.cpu_s:7.2f} {run.rss_mib:8.0f}")


def size(text: str) -> int:
    """Bytes of an argument such as 512MiB or 4g."""
    number = text.lower().removesuffix("b").removesuffix("i")
    return int(float(number[:-1]) * {"k": 2**10, "m": 2**20, "g": 2**30}[number[-1]])
