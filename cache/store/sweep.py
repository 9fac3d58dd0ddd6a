"""What a start finds of a process that ended anyhow, and what nothing needs any more."""

from __future__ import annotations

import time

from api.digest import Digest
from api.errors import InvalidArtifact
from cache.store import quarantine, trees
from cache.store.blobs import blobs
from cache.store.files import regular_files, remove_folder
from cache.store.ingest import DATA
from cache.store.layout import NEW, TRASH, Layout
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


def trim(layout: Layout, claims: Claims, *, idle_s: float) -> int:
    """Delete what was put into quarantine, blobs that no tree links and ingests that nobody wrote to, where that is
    ``idle_s`` seconds ago or more; returns bytes freed.

    Claimed ones stay. Under the store's lock. Raises OSError.
    """
    freed = quarantine.bound(layout, max_age_s=idle_s)
    before = time.time() - idle_s
    for digest, status in blobs(layout):
        if status.st_nlink == 1 and status.st_mtime <= before and digest not in claims:
            layout.blob(digest).unlink()
            freed += 512 * status.st_blocks
    for path in layout.ingests.iterdir():
        left = _digest(path.name)
        if left is None or left in claims:
            continue
        files = list(regular_files(path))
        if all(status.st_mtime <= before for status in files):
            freed += 512 * sum(status.st_blocks for status in files)
            remove_folder(path)
    return freed


def _digest(name: str) -> Digest | None:
    try:
        return Digest(name)
    except InvalidArtifact:
        return None
