"""One node pulls one model: Warmset against the floor and against other clients, in the same run.

    python -m benchmarks.pull --total 4GiB --runs 3

Starts a registry (Debian's docker-registry) on loopback with its own folder, pushes a model of random bytes in 8 files
and one in 1 file, and pulls each with every client in turn, each time as a fresh process into an empty folder.
The floor is the least anybody can do who verifies: as many threads as Warmset has workers, each receiving whole files
into one buffer and hashing them, nothing written. What Warmset writes is durable when it ends (fsync); what the others
write is not.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.registry import HOW_TO_GET, Registry, registry_missing, start_registry  # noqa: E402

WORKERS = 4
PIECE = 4 << 20


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_s: float
    rss_mib: float


def measured(command: Sequence[str | Path]) -> Run:
    """Wall time, CPU and peak memory of one child process."""
    os.sync()
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output, cwd=ROOT)
        peak_kib = 0
        while True:
            # Not ru_maxrss: that also counts what this process held when it forked.
            peak_kib = max(peak_kib, peak_memory_kib(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(0.01)
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


def make_model(folder: Path, *, files: int, total: int) -> None:
    folder.mkdir(parents=True)
    draw = random.Random(files)
    for index in range(files):
        with (folder / f"model-{index:05d}-of-{files:05d}.safetensors").open("wb") as file:
            left = total // files
            while left:
                left -= file.write(draw.randbytes(min(left, 16 << 20)))


def floor(host: str, repository: str) -> None:
    """Receive and hash all blobs, in the calling process; writes nothing."""
    connection = http.client.HTTPConnection(host)
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    connection.request("GET", f"/v2/{repository}/manifests/v1", headers=accept)
    digests = [layer["digest"] for layer in json.loads(connection.getresponse().read())["layers"]]
    lock = threading.Lock()

    def work() -> None:
        buffer = memoryview(bytearray(PIECE))
        while True:
            with lock:
                if not digests:
                    return
                digest = digests.pop()
            own = http.client.HTTPConnection(host)
            own.request("GET", f"/v2/{repository}/blobs/{digest}")
            response = own.getresponse()
            sha256, left = hashlib.sha256(), response.length or 0
            # What the header's read took from the body sits in the buffered file; after that, the bare socket.
            head = response.read(min(left, 8192))
            sha256.update(head)
            left -= len(head)
            rest = response.fp.peek() if left else b""
            while rest and left:
                got = response.fp.read1(len(rest))
                sha256.update(got)
                left -= len(got)
                rest = b""
            while left:
                filled = 0
                while filled < min(PIECE, left):
                    filled += own.sock.recv_into(buffer[filled : min(PIECE, left)])
                sha256.update(buffer[:filled])
                left -= filled
            if f"sha256:{sha256.hexdigest()}" != digest:
                raise SystemExit(f"the floor hashed {digest} wrong")

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def clients(registry: Registry, repository: str, scratch: Path) -> dict[str, Callable[[], list[str | Path]]]:
    """Command lines by client's name; those that are not installed are left out."""
    host = registry.host
    found: dict[str, Callable[[], list[str | Path]]] = {
        "floor": lambda: [sys.executable, Path(__file__), "--floor", host, repository],
        "warmset": lambda: [
            sys.executable, "-m", "cli.main", "pull", "--plain-http", "--root", scratch / "store",
            f"oci://{host}/{repository}:v1",
        ],
    }  # fmt: skip
    if shutil.which("oras"):
        found["oras"] = lambda: ["oras", "pull", "--plain-http", "-o", scratch / "oras", f"{host}/{repository}:v1"]
    if shutil.which("skopeo"):
        found["skopeo"] = lambda: [
            "skopeo", "copy", "--src-tls-verify=false", f"docker://{host}/{repository}:v1", f"dir:{scratch / 'skopeo'}",
        ]  # fmt: skip
    return found


def compare(registry: Registry, *, files: int, total: int, runs: int, folder: Path) -> None:
    repository = f"bench/files-{files}"
    make_model(folder / repository, files=files, total=total)
    reference = f"oci://{registry.host}/{repository}:v1"
    measured([sys.executable, "-m", "cli.main", "push", "--plain-http", folder / repository, reference])
    shutil.rmtree(folder / repository)
    scratch = folder / "scratch"
    results: dict[str, list[Run]] = {}
    for _ in range(runs):
        for name, command in clients(registry, repository, scratch).items():
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            results.setdefault(name, []).append(measured(command()))
    shutil.rmtree(scratch)
    best = {name: min(runs_, key=lambda run: run.seconds) for name, runs_ in results.items()}
    print(f"\n{total / 2**30:.2f} GiB, files: {files}, runs: {runs}, load: {os.getloadavg()[0]:.1f}")
    print(f"{'client':10} {'best s':>7} {'median s':>9} {'x floor':>8} {'x warmset':>10} {'CPU s':>6} {'RSS MiB':>8}")
    for name, run in best.items():
        middle = statistics.median(r.seconds for r in results[name])
        print(
            f"{name:10} {run.seconds:7.2f} {middle:9.2f} {run.seconds / best['floor'].seconds:8.2f} "
            f"{run.seconds / best['warmset'].seconds:10.2f} {run.cpu_s:6.2f} {run.rss_mib:8.0f}"
        )


def size(text: str) -> int:
    number = text.lower().removesuffix("b").removesuffix("i")
    return int(float(number[:-1]) * {"m": 2**20, "g": 2**30}[number[-1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--total", type=size, default=size("1GiB"), help="bytes of one model (default 1GiB)")
    parser.add_argument("--files", type=int, nargs="+", default=[8, 1], help="files of each model (default 8 1)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk, not tmpfs")
    parser.add_argument("--floor", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.floor:
        floor(*arguments.floor)
        return
    if registry_missing():
        raise SystemExit(HOW_TO_GET)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="warmset-bench-", dir=arguments.folder) as folder:
        registry = start_registry(Path(folder, "registry"))
        try:
            for files in arguments.files:
                compare(registry, files=files, total=arguments.total, runs=arguments.runs, folder=Path(folder))
        finally:
            registry.stop()


if __name__ == "__main__":
    main()
