"""What reading ahead saves: the first read of a model after it was mounted, cold and preloaded.

    python -m benchmarks.preload --mib 2048

Writes a tree below --folder (choose one on the disk to measure), takes its pages out of memory (POSIX_FADV_DONTNEED on
just these files), and reads it as an engine does: each file from its beginning to its end, by one thread. Cold; after
the agent's reader has finished; and while it works, as when the engine starts at once. Three times in turns; medians.
The machine's memory must hold the tree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from api.digest import Digest
from api.tree import Tree, TreeFile
from daemonset.publishing.preload import lower_io_priority, read_ahead

FILES = 4
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(json.dumps(measure(Path(folder), size=arguments.mib << 20), indent=2))


def measure(folder: Path, *, size: int) -> dict[str, object]:
    tree = write_tree(folder, size=size)
    ways: dict[str, Callable[[], float]] = {
        "cold": lambda: engine_reads(tree, folder),
        "preloaded": lambda: after_preload(tree, folder),
        "preloading": lambda: during_preload(tree, folder),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            drop(tree, folder)
            seconds[name].append(way())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "mib": size >> 20,
        "first_read_s": {name: round(value, 3) for name, value in medians.items()},
        "cold_over_preloaded": round(medians["cold"] / medians["preloaded"], 2),
        "cold_over_preloading": round(medians["cold"] / medians["preloading"], 2),
    }


def write_tree(folder: Path, *, size: int) -> Tree:
    files = []
    for number in range(FILES):
        path = folder / f"model-{number}.safetensors"
        digest, left = hashlib.sha256(), size // FILES
        with path.open("wb") as out:
            while left:
                piece = os.urandom(min(left, 16 << 20))
                out.write(piece)
                digest.update(piece)
                left -= len(piece)
            out.flush()
            os.fsync(out.fileno())
        files.append(TreeFile(path.name, path.stat().st_size, Digest(digest.hexdigest())))
    return Tree.of(files)


def drop(tree: Tree, folder: Path) -> None:
    for file in tree.files:
        fd = os.open(folder / file.path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def engine_reads(tree: Tree, folder: Path) -> float:
    buffer = bytearray(1 << 20)
    began = time.perf_counter()
    for file in tree.files:
        with (folder / file.path).open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass
    return time.perf_counter() - began


def preload(tree: Tree, folder: Path) -> None:
    lower_io_priority()
    done = read_ahead(tree, root=folder, limit_bytes=tree.size, wanted=lambda: True)
    assert done == tree.size


def after_preload(tree: Tree, folder: Path) -> float:
    thread = threading.Thread(target=preload, args=(tree, folder))
    thread.start()
    thread.join()
    return engine_reads(tree, folder)


def during_preload(tree: Tree, folder: Path) -> float:
    thread = threading.Thread(target=preload, args=(tree, folder))
    thread.start()
    took = engine_reads(tree, folder)
    thread.join()
    return took


if __name__ == "__main__":
    main()
