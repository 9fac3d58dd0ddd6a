"""Cut the power under a store's life, again and again: run as root in a private mount namespace as

    unshare -m python -m tests.faults.store_power_loss WORK [MUTANT]

Each case makes an ext4 file system in a file, shuts it down without flushing its journal at some change of the disk
(EXT4_IOC_SHUTDOWN, NOLOGFLUSH: whatever was not synced is lost), mounts it again and asks the oracle. Ends with the
number of cases, or with the first promise that broke.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from api.errors import WarmsetError
from cache.store import Store, blobs, datafile, pins, records, root, small, trees
from cache.store import ingest as ingest_module
from cache.store.datafile import DataFile
from tests.faults import oracle, store_scenario

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2
FILE_SYSTEM_BYTES = 32 << 20
CHANGES = frozenset({"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"})  # audit events
EVERY = 2  # cut at every second change: a case takes 0.1 s


class Power:
    """Counts changes of the disk and cuts the power at the chosen one."""

    def __init__(self) -> None:
        self.changes = 0
        self.cut_at = 0
        self.folder: int | None = None

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in CHANGES and self.folder is not None:
            self.changes += 1
            if self.changes == self.cut_at:
                self.cut()

    def cut(self) -> None:
        assert self.folder is not None
        fcntl.ioctl(self.folder, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        self.cut_at = 0


def case(work: Path, power: Power, *, cut_at: int) -> bool:
    """False when the life ended before the chosen change; then the power was cut right at its end."""
    promises = work / "promises"
    promises.unlink(missing_ok=True)
    with disk_with_a_store(work) as disk:
        power.folder, power.changes, power.cut_at = os.open(disk, os.O_RDONLY), 0, cut_at
        try:
            store_scenario.live(disk / "cache", promises)
        except (WarmsetError, OSError):
            if power.cut_at:
                raise  # a failure of its own
        happened = not power.cut_at
        if not happened:
            power.cut()
        os.close(power.folder)
        power.folder = None
        mount_again(disk)
        oracle.check_after_crash(disk / "cache", promises=promises)
        store_scenario.live(disk / "cache", promises)
        oracle.check_after_crash(disk / "cache", promises=promises)
    return happened


@contextmanager
def disk_with_a_store(work: Path) -> Iterator[Path]:
    """A new ext4 file system with an empty store at ``cache``, all of it synced."""
    image, disk = _image(work / "disk"), work / "disk"
    disk.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(FILE_SYSTEM_BYTES)
    run("mkfs.ext4", "-q", "-F", str(image))
    run("mount", "-o", "loop", str(image), str(disk))
    try:
        Store.open(disk / "cache").close()
        run("sync", "-f", str(disk))
        yield disk
    finally:
        run("umount", str(disk))


def mount_again(disk: Path) -> None:
    """As a boot does after the power was back."""
    run("umount", str(disk))
    run("mount", "-o", "loop", str(_image(disk)), str(disk))


def _image(disk: Path) -> Path:
    return disk.with_name("image")


def run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=20)


def _data_not_synced() -> None:
    def seal(self: DataFile) -> None:
        os.fchmod(self._buffered, 0o444)

    DataFile.seal = seal  # type: ignore[method-assign]
    DataFile.sync = lambda self: None  # type: ignore[method-assign]
    # Direct writes reach this disk by themselves, and the folder's fsync then covers what ext4 knows of them.
    datafile._open_direct = lambda path, *, io: None


def _folders_not_synced() -> None:
    for module in (blobs, trees, root, sys.modules["cache.store.files"]):
        module.fsync_folder = lambda path: None  # type: ignore[attr-defined]


def _batches_not_synced() -> None:
    small.syncfs = lambda fd: None  # type: ignore[attr-defined]


def _replace(path: Path, data: bytes, *, scratch: Path) -> None:
    path.write_bytes(data)


def _records_not_synced() -> None:
    trees.replace_durably = records.replace_durably = _replace  # type: ignore[attr-defined]


def _pins_not_synced() -> None:
    pins.replace_durably = _replace  # type: ignore[attr-defined]


MUTANTS: dict[str, Callable[[], None]] = {
    "data-not-synced": _data_not_synced,
    "folders-not-synced": _folders_not_synced,
    "batches-not-synced": _batches_not_synced,
    "records-not-synced": _records_not_synced,
    "pins-not-synced": _pins_not_synced,
}


def main(work: Path, mutants: list[str]) -> str:
    for mutant in mutants:
        MUTANTS[mutant]()
    ingest_module.SYNC_BYTES = store_scenario.CHUNK
    power = Power()
    sys.addaudithook(power.audit)
    cut_at = 1
    while case(work, power, cut_at=cut_at):
        cut_at += EVERY
    return f"{cut_at // EVERY} cases"


if __name__ == "__main__":
    try:
        print(main(Path(sys.argv[1]), sys.argv[2:]))
    except oracle.Broken as broken:
        sys.exit(str(broken))
