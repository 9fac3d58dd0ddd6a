"""One node pulls one model: Warmset against the floors and against other clients, in the same run.

    python -m benchmarks.pull --total 4GiB --runs 3
    python -m benchmarks.pull --shapes layers packed --runs 3
    python -m benchmarks.pull --shapes split --again --runs 20

Starts a registry (Debian's docker-registry) on loopback with its own folder, pushes a model of random bytes, and pulls
it with every client in turn, each time as a fresh process into an empty folder; with --again, into one that holds the
model already. The shapes: *split* is --total in 8 files, *single* in 1, *archive* in 4 in one tar+gzip layer, and there
as numbers instead of random bytes; *layers* is 15,000 files of 4 KiB as a layer each, *packed* 20,000 of them in one
tar+gzip layer. The floors stand in benchmarks/floors.py. What Warmset writes is durable when it ends (fsync); what the
others write is not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.reference import OciReference
from benchmarks.measure import ROOT, WARMSET, Command, Run, measured, show, size
from benchmarks.models import (
    SMALL_BYTES,
    make_model,
    make_small_files,
    push_files,
    push_packed,
    small_members,
    weight_members,
)
from tests.support.registry import HOW_TO_GET, registry_missing, start_registry

SHAPES = {"split": 8, "single": 1, "archive": 4, "layers": 15_000, "packed": 20_000}
LARGE = ("split", "single", "archive")  # whose size is --total
PULL = (WARMSET, "pull", "--plain-http")


@dataclass(frozen=True)
class Model:
    """A model in a registry: ``total`` bytes in so many ``files``, in one of SHAPES."""

    shape: str
    files: int
    total: int
    reference: OciReference

    @property
    def name(self) -> str:
        """As other clients write it."""
        return str(self.reference).removeprefix("oci://")

    def push(self, folder: Path) -> None:
        """Make it and upload it; ``folder`` is used meanwhile."""
        if self.shape == "packed":
            push_packed(small_members(count=self.files), reference=self.reference)
            return
        if self.shape == "archive":
            push_packed(weight_members(files=self.files, total=self.total), reference=self.reference)
            return
        if self.shape == "layers":
            make_small_files(folder, count=self.files)
        else:
            make_model(folder, files=self.files, total=self.total)
        push_files(folder, reference=self.reference)
        shutil.rmtree(folder)

    def floors(self, folder: Path) -> dict[str, Command]:
        module = (sys.executable, "-m", "benchmarks.floors")
        found: dict[str, Command] = {
            "receive and hash": (*module, "receive", self.reference.host, self.reference.repository)
        }
        if self.shape in ("split", "single"):  # small files cost the disk more than their bytes
            found["write and sync"] = (*module, "write", folder, str(self.files), str(self.total))
        return found

    def clients(self, folder: Path, *, oras_concurrency: Sequence[int]) -> dict[str, Command]:
        """Command lines by client's name; those that are not installed are left out."""
        found: dict[str, Command] = {"warmset": (*PULL, "--root", folder / "store", str(self.reference))}
        if shutil.which("oras"):
            for many in oras_concurrency:
                options = ("--plain-http", "--concurrency", str(many), "-o", folder / f"oras-{many}")
                found[f"oras, {many} at once"] = ("oras", "pull", *options, self.name)
            if self.shape not in LARGE:  # whose files cost more to sync than to write
                options = ("--plain-http", "--concurrency", str(oras_concurrency[-1]), "-o", folder / "oras-synced")
                then_sync = ("sh", "-c", '"$@" && sync -f "$0"', folder)
                found["the same, and sync"] = (*then_sync, "oras", "pull", *options, self.name)
        # It does not unpack, and of 15,000 layers it had brought a third after 13 minutes on a processor of its own.
        if shutil.which("skopeo") and self.shape in ("split", "single"):
            target = f"dir:{folder / 'skopeo'}"
            found["skopeo"] = ("skopeo", "copy", "--src-tls-verify=false", f"docker://{self.name}", target)
        return found

    def warm_ways(self, folder: Path) -> dict[str, Command]:
        """More ways to ask Warmset for what is there already."""
        command = (*PULL, "--root", folder / "store", "-o", "json", str(self.reference))
        shown = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
        pinned = self.reference.pinned(json.loads(shown.stdout)["revision"])
        again = (*PULL, "--root", folder / "store")
        return {
            "warmset, pinned": (*again, str(pinned)),
            "warmset, a folder": (*again, str(self.reference), folder / "model"),
        }


def compare(model: Model, *, runs: int, folder: Path, oras_concurrency: Sequence[int]) -> None:
    """Pull into empty folders."""
    results: dict[str, list[Run]] = {}
    for run in range(runs):
        into = folder / str(run)
        commands = {**model.floors(into), **model.clients(into, oras_concurrency=oras_concurrency)}
        for name, command in commands.items():
            # Many small files stay to the end: ext4 uses the inode of a deleted one again only after minutes, and until
            # then looks at each of them for every file that is made.
            if model.total > model.files * SMALL_BYTES:
                shutil.rmtree(into, ignore_errors=True)
            into.mkdir(parents=True, exist_ok=True)
            results.setdefault(name, []).append(measured(command))
    floors = tuple(model.floors(folder))
    show(f"{model.shape}: {model.total / 2**30:.2f} GiB, files: {model.files}", results, floors=floors)


def compare_again(model: Model, *, runs: int, folder: Path, oras_concurrency: Sequence[int]) -> None:
    """Pull what is there already; the floor is an interpreter that does nothing."""
    folder.mkdir()
    start = "python -c pass"
    clients = model.clients(folder, oras_concurrency=oras_concurrency)
    for command in clients.values():
        measured(command)
    warm = model.warm_ways(folder)
    measured(warm["warmset, a folder"])
    commands: dict[str, Command] = {start: (sys.executable, "-c", "pass"), **clients, **warm}
    results: dict[str, list[Run]] = {}
    for _ in range(runs):
        for name, command in commands.items():
            results.setdefault(name, []).append(measured(command))
    show(f"{model.shape} again: files: {model.files}", results, floors=(start,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["split", "single"])
    parser.add_argument("--total", type=size, default=size("1GiB"), help="bytes of a split, single or archived model")
    parser.add_argument("--files", type=int, help="another number of files than the shape's")
    parser.add_argument("--again", action="store_true", help="measure pulls of a model that is there already")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--oras-concurrency", type=int, nargs="+", default=[3, 16], help="oras' own default is 3")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk, not tmpfs")
    arguments = parser.parse_args()
    if registry_missing():
        raise SystemExit(HOW_TO_GET)
    for shape in arguments.shapes:
        files = arguments.files or SHAPES[shape]
        total = arguments.total if shape in LARGE else files * SMALL_BYTES
        with tempfile.TemporaryDirectory(prefix="warmset-bench-", dir=arguments.folder) as folder:
            registry = start_registry(Path(folder, "registry"))
            try:
                model = Model(shape, files, total, OciReference(registry.host, "bench/model", "v1", None))
                model.push(Path(folder, "model"))
                run = compare_again if arguments.again else compare
                run(
                    model,
                    runs=arguments.runs,
                    folder=Path(folder, "scratch"),
                    oras_concurrency=arguments.oras_concurrency,
                )
            finally:
                registry.stop()


if __name__ == "__main__":
    main()
