"""Blobs whose bytes went wrong, kept for a while for whoever wants to know why: never served, never linked anew."""

from __future__ import annotations

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
    bound(layout, max_age_s=MAX_AGE_S)
    return True


def bound(layout: Layout, *, max_age_s: float) -> int:
    """Delete what is older, and all but the newest MAX_FILES; returns the bytes freed. Raises OSError."""
    kept = sorted((when, path) for path in layout.quarantine.iterdir() if (when := _put_at(path)) is not None)
    before = time.time() - max_age_s
    freed = 0
    for place, (when, path) in enumerate(reversed(kept)):
        if place >= MAX_FILES or when <= before:
            status = path.lstat()
            path.unlink()
            freed += 512 * status.st_blocks if status.st_nlink == 1 else 0
    return freed


def _put_at(path: Path) -> float | None:
    """Unix time, seconds; None for a name that is not ours."""
    hexadecimal, _, when = path.name.partition(".")
    return int(when) / 1e9 if len(hexadecimal) == 64 and when.isdigit() else None
