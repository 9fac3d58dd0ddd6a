"""Blobs whose bytes went wrong, kept for a while for whoever wants to know why: never served, never linked anew."""

from __future__ import annotations

import os
import time
from pathlib import Path

from api.digest import Digest
from cache.store.files import fsync_folder
from cache.store.layout import Layout

MAX_FILES = 8  # a disk that dies fills no other; one file of each kind of damage is enough to look at
MAX_AGE_S = 7 * 86400.0


def put(layout: Layout, digest: Digest, *, inode: int | None) -> bool:
    """Take a blob's name away, durably; False where there is none, or ``inode`` is not its number any more.

    Raises OSError.
    """
    blob = layout.blob(digest)
    try:
        if inode is not None and blob.lstat().st_ino != inode:
            return False
        blob.rename(layout.quarantine / f"{digest.hex}.{time.time_ns()}")
    except FileNotFoundError:
        return False
    fsync_folder(layout.quarantine)
    fsync_folder(blob.parent)
    before = time.time() - MAX_AGE_S
    for place, (when, path) in enumerate(_kept(layout)):
        if place >= MAX_FILES or when <= before:
            path.unlink()
    return True


def files(layout: Layout, *, before: float) -> list[tuple[Path, os.stat_result]]:
    """What was put there before ``before``, Unix time in seconds. Raises OSError."""
    return [(path, path.lstat()) for when, path in _kept(layout) if when <= before]


def _kept(layout: Layout) -> list[tuple[float, Path]]:
    """Newest first; names that are not ours are left out."""
    found = ((_put_at(path), path) for path in layout.quarantine.iterdir())
    return sorted(((when, path) for when, path in found if when is not None), reverse=True)


def _put_at(path: Path) -> float | None:
    """Unix time, seconds; None for a name that is not ours."""
    hexadecimal, _, when = path.name.partition(".")
    return int(when) / 1e9 if len(hexadecimal) == 64 and when.isdigit() else None
