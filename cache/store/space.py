"""What the cache takes on its disk, and what it has promised to running pulls."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from api.digest import Digest
from api.errors import InsufficientCache
from cache.store.blobs import has_blob
from cache.store.capacity import Amount, Disk, Watermarks
from cache.store.files import regular_files
from cache.store.ingest import DATA
from cache.store.layout import Layout

# A blob costs an inode while it is pulled and a name in each tree; a folder or a record now and then.
_SPARE_INODES = 64


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes. ``used`` is what the cache's files take on the disk, each inode once, unfinished blobs included;
    ``reserved`` is promised to running pulls and not taken yet; ``free`` is what a new pull may take."""

    capacity: int
    used: int
    reserved: int
    free: int


class Claims:
    """Which blobs running pulls need, and the bytes that those still lack. Guarded by the store's lock."""

    def __init__(self, layout: Layout, *, watermarks: Watermarks) -> None:
        self._layout = layout
        self._watermarks = watermarks
        self._holders: Counter[Digest] = Counter()
        self._sizes: dict[Digest, int] = {}

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._sizes

    def reserve(self, blobs: Mapping[Digest, int]) -> None:
        """Add ``blobs`` (sizes in bytes) when the disk can take what they lack. Raises as ``require``."""
        new = {digest: size for digest, size in blobs.items() if digest not in self}
        if new:  # else a pull of a thousand files would look at all of them for each of them
            self.require(Amount(_lacking(self._layout, new), len(new) + _SPARE_INODES))
        self._sizes.update(blobs)
        self._holders.update(blobs.keys())

    def drop(self, blobs: Mapping[Digest, int]) -> None:
        for digest in blobs:
            self._holders[digest] -= 1
            if not self._holders[digest]:
                del self._holders[digest], self._sizes[digest]

    def outstanding(self) -> int:
        """Bytes promised and not yet allocated. Raises OSError."""
        return _lacking(self._layout, self._sizes)

    def require(self, need: Amount) -> None:
        """Make sure that the disk can take ``need`` beside all that is promised.

        Raises InsufficientCache, which says how much is missing, else OSError.
        """
        disk = measure_disk(self._layout)
        room = disk.room(self._watermarks).less(Amount(self.outstanding(), 0))
        # File systems that make inodes as they go say 0 in all.
        missing = need.less(Amount(room.bytes, room.inodes if disk.inodes else need.inodes))
        if missing:
            what = "bytes" if missing.bytes else "inodes"
            needed, free = (need.bytes, room.bytes) if missing.bytes else (need.inodes, room.inodes)
            raise InsufficientCache(
                f"{needed} {what} are needed and {free} are free for the cache: {needed - free} are missing",
                missing_bytes=missing.bytes,
                missing_inodes=missing.inodes,
                hint="remove models (warmset gc, warmset rm, warmset cool), or give the cache a larger disk",
            )


def measure_disk(layout: Layout) -> Disk:
    """The file system as it is now. Raises OSError."""
    disk = os.statvfs(layout.root)
    return Disk(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize, disk.f_files, disk.f_favail)


def measure(layout: Layout, *, reserved: int, watermarks: Watermarks) -> Usage:
    """Count what is there now. Walks the whole cache. Raises OSError."""
    blocks = {status.st_ino: status.st_blocks for status in regular_files(layout.root)}
    disk = measure_disk(layout)
    return Usage(
        capacity=disk.bytes,
        used=512 * sum(blocks.values()),  # st_blocks counts 512-byte units whatever the file system's block is
        reserved=reserved,
        free=disk.room(watermarks).less(Amount(reserved, 0)).bytes,
    )


def _lacking(layout: Layout, blobs: Mapping[Digest, int]) -> int:
    begun = {path.name for path in layout.ingests.iterdir()}  # few, where the blobs may be thousands
    total = 0
    for digest, size in blobs.items():
        if not has_blob(layout, digest, size=size):
            total += max(0, size - (_allocated(layout, digest) if digest.hex in begun else 0))
    return total


def _allocated(layout: Layout, digest: Digest) -> int:
    try:
        return 512 * (layout.ingest(digest) / DATA).lstat().st_blocks
    except FileNotFoundError:
        return 0
