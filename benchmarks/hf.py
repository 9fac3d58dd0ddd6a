"""One machine pulls one model from a Hub: Warmset against ``hf download``, in the same run.

    python -m benchmarks.hf --total 1GiB --runs 3
    python -m benchmarks.hf --again --files 8 --runs 20

The Hub is the tests' own fake one, a process of its own on loopback with its CDN on another origin; files are sent by
sendfile, so that the clients and not the server are measured. ``hf download`` runs as its users have it, with hf-xet
installed, and with HF_HUB_DISABLE_XET=1; the fake Hub offers plain files only, as a mirror does, so hf-xet changes what
is imported and not how bytes come. Each run is a fresh process into an empty folder. What Warmset writes is verified
and durable when it ends; what ``hf download`` writes is neither.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import ROOT, WARMSET, Run, measured, show, size
from benchmarks.models import make_model
from tests.support.fake_hub import FakeHub

NAME = "bench/model"
START = "python -c pass"


def serve(folder: Path) -> None:
    """Be the Hub until stdin ends; the endpoint goes to stdout."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    small = {"config.json": b"{}", "tokenizer.json": b"x" * 500_000}
    with FakeHub() as hub:
        hub.add(NAME, {**files, **small}, lfs_over=10 << 20)
        print(hub.endpoint, flush=True)
        sys.stdin.read()


def clients(scratch: Path) -> dict[str, tuple[list[str | Path], dict[str, str]]]:
    hf = Path(sys.executable).parent / "hf"
    download: list[str | Path] = [hf, "download", NAME, "--cache-dir", scratch / "hub"]
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(scratch / "home")}
    warmset: list[str | Path] = [WARMSET, "pull", "--root", scratch / "store", f"hf://{NAME}"]
    return {
        "warmset": (warmset, quiet),
        "hf, hf-xet": (download, quiet),
        "hf, no xet": (download, {**quiet, "HF_HUB_DISABLE_XET": "1"}),
    }


def compare(endpoint: str, *, folder: Path, files: int, total: int, runs: int, again: bool) -> None:
    results: dict[str, list[Run]] = {}
    scratch = folder / "scratch"
    os.environ["HF_ENDPOINT"] = endpoint
    for run in range(runs + again):
        for name, (command, environment) in clients(scratch).items():
            if not again:
                shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(exist_ok=True)
            os.environ.pop("HF_HUB_DISABLE_XET", None)
            os.environ.update(environment)
            took = measured(command)
            if run >= again:  # the first of --again brings the model
                results.setdefault(name, []).append(took)
        if again and run:
            results.setdefault(START, []).append(measured([sys.executable, "-c", "pass"]))
    shutil.rmtree(scratch)
    what = "again" if again else f"{total / 2**30:.2f} GiB"
    show(f"{what}, files: {files}", results, floors=(START,) if again else ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--total", type=size, default=size("1GiB"), help="bytes of one model (default 1GiB)")
    parser.add_argument("--files", type=int, nargs="+", default=[8, 1], help="files of each model (default 8 1)")
    parser.add_argument("--again", action="store_true", help="measure pulls of a model that is there already")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk, not tmpfs")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    for files in arguments.files:
        with tempfile.TemporaryDirectory(prefix="warmset-bench-", dir=arguments.folder) as folder:
            model = Path(folder, "model")
            make_model(model, files=files, total=arguments.total)
            command: list[str | Path] = [sys.executable, "-m", "benchmarks.hf", "--serve", model]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as hub:
                assert hub.stdout is not None
                endpoint = hub.stdout.readline().strip()
                compare(
                    endpoint,
                    folder=Path(folder),
                    files=files,
                    total=arguments.total,
                    runs=arguments.runs,
                    again=arguments.again,
                )


if __name__ == "__main__":
    main()
