"""Pulls into small real file systems to which something happens: run as root in a private mount namespace as

    unshare -m python -m tests.faults.store_small_disks CASE WORK

Prints what the store said, line by line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from api.errors import InsufficientCache, WarmsetError
from api.reference import parse_reference
from cache.pull import Pulled, pull
from cache.sources import SourceOptions
from cache.store import Store
from cache.store.capacity import UNLIMITED
from tests.faults import oracle, store_scenario
from tests.support.fake_registry import FakeRegistry, Fault

MIB = 1 << 20
IMAGE_BYTES = 128 * MIB
BIG = {"model.safetensors": os.urandom(40 * MIB), "config.json": b"{}"}
NO_PROMISES = Path("/nonexistent")


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, timeout=20, stdout=subprocess.DEVNULL)


@contextmanager
def disk(work: Path, *options: str) -> Iterator[Path]:
    image, point = work / "image", work / "disk"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    run("mkfs.ext4", "-q", "-F", *options, image)
    run("mount", "-o", "loop,errors=remount-ro", image, point)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=False, timeout=20, stderr=subprocess.DEVNULL)


def bring(registry: FakeRegistry, store: Store, *, at: int = 0, then: Callable[[], None] = lambda: None) -> Pulled:
    """``then`` happens once ``at`` bytes have come; the registry waits for it."""
    happened = threading.Event()

    def look(progress: object) -> None:
        if at and registry.blob_bytes() >= at and not happened.is_set():
            happened.set()
            then()
            registry.released.set()

    options = SourceOptions(plain_http=frozenset({registry.host}))
    reference = parse_reference(f"oci://{registry.host}/m/tiny:v1")
    return pull(store, reference, options=options, on_progress=look, workers=2)


def inodes(work: Path) -> None:
    """600 inodes, of which the cache's own folders take 280."""
    few, many = ({f"{n}": b"%d" % n for n in range(count)} for count in (150, 400))
    with disk(work, "-N", "600") as point, FakeRegistry() as registry:
        with Store.open(point / "cache", watermarks=replace(UNLIMITED, inodes_high=0.95, inodes_low=0.90)) as store:
            registry.add_model("m/tiny", "v1", many)
            try:
                bring(registry, store)
            except InsufficientCache as error:
                print(error.reason, error.missing_inodes > 0, error.missing_bytes, registry.requests("/blobs/"))
            registry.add_model("m/tiny", "v1", few)
            first = bring(registry, store).tree.digest
            print(len(store.trees()), store.disk().inodes_free > 0)
            registry.add_model("m/tiny", "v1", {f"other/{n}": b"another %d" % n for n in range(150)})
            try:
                bring(registry, store)
            except InsufficientCache as error:
                print(error.reason, error.missing_inodes > 0)
            store.remove_tree(first)
            bring(registry, store)
            print(len(store.trees()))
        oracle.check_after_crash(point / "cache", promises=NO_PROMISES)


def last_inode(work: Path) -> None:
    """Others take the inodes after the reservation."""
    with disk(work, "-N", "600") as point, FakeRegistry() as registry:
        registry.add_model("m/tiny", "v1", {f"{n}": b"%d" % n for n in range(150)})
        with Store.open(point / "cache") as store:
            with store.claim({store_scenario.digest_of(b"x"): 1}):
                for n in range(store.disk().inodes_free - 20):
                    (point / f"foreign-{n}").touch()
                try:
                    store.commit_small([(store_scenario.digest_of(b"%d" % n), b"%d" % n) for n in range(150)])
                except InsufficientCache as error:
                    print(error.reason)
            for path in point.glob("foreign-*"):
                path.unlink()
            print(len(bring(registry, store).tree.files))
        oracle.check_after_crash(point / "cache", promises=NO_PROMISES)


def read_only(work: Path) -> None:
    """As an ext4 file system becomes by itself when it meets an error; here the error is made (errors=remount-ro)."""
    with disk(work) as point, FakeRegistry() as registry:
        registry.add_model("m/tiny", "v1", BIG)
        registry.faults = [Fault(path="/blobs/", cut_after=20 * MIB, stall=True, times=2)]
        with Store.open(point / "cache", io="direct") as store:
            number = point.stat().st_dev
            device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()

            def err() -> None:
                Path("/sys/fs/ext4", device.name, "trigger_fs_error").write_text("made by a test")

            try:
                bring(registry, store, at=20 * MIB, then=err)
            except WarmsetError as error:
                print(error.reason, "read-only" in error.message or "read-only" in error.hint)
        registry.faults = []
        run("umount", point)
        run("mount", "-o", "loop", work / "image", point)
        oracle.check_after_crash(point / "cache", promises=NO_PROMISES)
        with Store.open(point / "cache") as store:
            print(len(bring(registry, store).tree.files))


def lost(work: Path) -> None:
    """The disk is unmounted under a pull; what lies below the mount point is another file system."""
    with disk(work) as point, FakeRegistry() as registry:
        registry.add_model("m/tiny", "v1", BIG)
        registry.faults = [Fault(path="/blobs/", cut_after=20 * MIB, stall=True, times=2)]
        with Store.open(point / "cache") as store:
            try:
                bring(registry, store, at=20 * MIB, then=lambda: run("umount", "-l", point))
            except WarmsetError as error:
                print(error.reason)
            print(list(point.iterdir()))


def overlay(work: Path) -> None:
    """As the root of a container is: hard links, renames and direct I/O go to the upper layer."""
    with disk(work) as point:
        for name in ("lower", "upper", "work", "merged"):
            (point / name).mkdir()
        layers = f"lowerdir={point}/lower,upperdir={point}/upper,workdir={point}/work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, point / "merged")
        try:
            root, promises = point / "merged" / "cache", work / "promises"
            store_scenario.live(root, promises)
            oracle.check_after_crash(root, promises=promises)
            with FakeRegistry() as registry, Store.open(root) as store:
                registry.add_model("m/tiny", "v1", BIG)
                print(len(bring(registry, store).tree.files), len(store.verify_tree(store.trees()[0])))
        finally:
            run("umount", point / "merged")


CASES = {"inodes": inodes, "last-inode": last_inode, "read-only": read_only, "lost": lost, "overlay": overlay}


if __name__ == "__main__":
    CASES[sys.argv[1]](Path(sys.argv[2]))
