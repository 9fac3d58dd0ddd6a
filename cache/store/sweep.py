"""What a start finds of a process that ended anyhow, and what nothing needs any more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from api.digest import Digest
from api.errors import InvalidArtifact
from cache.store import quarantine, trees
from cache.store.blobs import blobs, status_of
from cache.store.files import regular_files, remove_folder, scratch_name
from cache.store.ingest import DATA
from cache.store.layout import NEW, TRASH, Layout
from cache.store.small import SMALL_BYTES
from cache.store.space import Claims


def reconcile(layout: Layout) -> None:
    """Finish or undo what a crash cut short. Under the root's lock, before anything else. Raises OSError.

    Goes: temporary files, trees half built or half removed, listings and last uses of trees that are absent, what a
    committed ingest left. Stays: unfinished ingests, for a resume; blobs that no tree links, as cache; anything whose
    name is not ours.
    """
    for path in layout.scratch.iterdir():
        path.unlink()
    for path in layout.trees.iterdir():
        if path.name.startswith((NEW, TRASH)):
            remove_folder(path)
    for path in layout.mending.iterdir():
        if (mended := _digest(path.name)) is not None:
            trees.settle(layout, mended)
    for folder in (layout.listings, layout.uses):
        for path in folder.iterdir():
            if not (layout.trees / path.name).is_dir():
                path.unlink()
    for path in layout.ingests.iterdir():
        digest = _digest(path.name)
        if digest is not None and (layout.blob(digest).exists() or not (path / DATA).exists()):
            remove_folder(path)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that nothing needs, and what its removal gives back."""

    path: Path
    kind: Literal["quarantine", "blob", "partial"]
    bytes: int
    inodes: int = 1


def leftovers(layout: Layout, claims: Claims, *, idle_s: float) -> list[Leftover]:
    """Quarantine, blobs that no tree links and unfinished ingests, where nobody wrote to them for ``idle_s`` seconds
    and no pull claims them. Under the store's lock. Raises OSError."""
    before = time.time() - idle_s
    found = [
        Leftover(path, "quarantine", 512 * status.st_blocks if status.st_nlink == 1 else 0)
        for path, status in quarantine.files(layout, before=before)
    ]
    found += [
        Leftover(layout.blob(digest), "blob", 512 * status.st_blocks)
        for digest, status in blobs(layout)
        if status.st_nlink == 1 and status.st_mtime <= before and digest not in claims
    ]
    for path in layout.ingests.iterdir():
        left = _digest(path.name)
        if left is None or left in claims:
            continue
        files = list(regular_files(path))
        if all(status.st_mtime <= before for status in files):
            found.append(Leftover(path, "partial", 512 * sum(s.st_blocks for s in files), len(files) + 1))
    return found


def remove(leftover: Leftover) -> None:
    """Raises OSError."""
    if leftover.kind == "partial":
        remove_folder(leftover.path)
    else:
        leftover.path.unlink()


def discard(layout: Layout, claims: Claims, digests: Iterable[Digest]) -> tuple[int, list[Path]]:
    """Take away the names of those blobs that no tree links and no pull claims. Under the store's lock.

    Returns the bytes of them all, and the files that are still to be deleted, which takes long for large ones.
    Raises OSError.
    """
    freed, trash = 0, []
    for digest in digests:
        status = status_of(layout, digest)
        if digest in claims or status is None or status.st_nlink > 1:
            continue
        freed += 512 * status.st_blocks
        if status.st_size <= SMALL_BYTES:
            os.unlink(layout.blob_name(digest))  # noqa: PTH108 - as text: done to thousands
        else:
            trash.append(scratch_name(layout.scratch))
            layout.blob(digest).rename(trash[-1])
    return freed, trash


def _digest(name: str) -> Digest | None:
    try:
        return Digest(name)
    except InvalidArtifact:
        return None
