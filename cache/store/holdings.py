"""The trees on the disk as the eviction plan sees them: which blobs each links, what those take, when it was used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

from api.digest import Digest
from cache.store import pins, records, trees
from cache.store.capacity import Stored
from cache.store.failures import disk_errors
from cache.store.store import Store

MOUNTED = "mounted"


def holdings(
    store: Store, *, hold: Callable[[Digest], str], priority: Callable[[Digest], int] = lambda tree: 0
) -> list[Stored]:
    """Every published tree. ``hold`` says why one must stay, beside being pinned; empty when it may go.

    A blob that has a name outside the cache too (a folder of `warmset pull REF FOLDER`) counts as 0 bytes: removing it
    gives nothing back. Raises DiskError.
    """
    layout = store.layout
    blobs: dict[Digest, dict[Digest, os.stat_result]] = {}
    names: Counter[int] = Counter()
    with disk_errors("listing trees"):
        table = pins.read_all(layout)
        for digest in trees.published(layout):
            tree = trees.described(layout, digest)
            blobs[digest] = {}
            for file in tree.files if tree else ():
                try:
                    status = (layout.tree(digest) / file.path).lstat()
                except (FileNotFoundError, NotADirectoryError):
                    continue
                names[status.st_ino] += 1
                blobs[digest][file.digest] = status
        pinned = {pin.tree for pin in table.pins.values()}
        uses = {digest: records.read_use(layout, digest) for digest in blobs}
    found = []
    for digest, statuses in blobs.items():
        use = uses[digest]
        found.append(
            Stored(
                tree=digest,
                blobs={
                    blob: 512 * status.st_blocks if status.st_nlink <= names[status.st_ino] + 1 else 0
                    for blob, status in statuses.items()
                },
                last_used=use.used_at if use else 0.0,
                # A pin that cannot be read holds a tree that nobody can name.
                hold=MOUNTED if digest in pinned or table.unreadable else hold(digest),
                priority=priority(digest),
                group=use.group if use else "",
            )
        )
    return found
