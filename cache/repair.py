"""Repair of a stored model: what rotted goes to quarantine, and just that is fetched again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from api.digest import Digest
from api.errors import Corrupted, NotFound
from api.reference import Reference
from api.tree import TreeFile
from cache.origin import Origin
from cache.pull import Pulled, pull
from cache.sources.options import SourceOptions
from cache.store.store import Store
from cache.transfer.progress import Progress


def quarantine_wrong(store: Store, files: Sequence[TreeFile]) -> list[Digest]:
    """Drop the blobs among ``files`` that are wrong themselves, and not only badly linked."""
    dropped = []
    for digest in dict.fromkeys(file.digest for file in files):
        checked = store.check_blob(digest)
        if checked.state in ("wrong", "unreadable") and store.drop_blob(digest, inode=checked.inode):
            dropped.append(digest)
    return dropped


def pull_again(
    store: Store,
    tree: Digest,
    *,
    options: Callable[[Reference], SourceOptions],
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> Pulled:
    """Fetch what a damaged tree lacks, through the reference it came by, and make it whole.

    Raises NotFound where no record tells where it came from, Corrupted where the source has another model by now, or
    what ``pull`` raises.
    """
    record = next((record for record in store.pull_records() if record.tree == tree), None)
    if record is None:
        raise NotFound(
            f"nothing tells where tree {tree} came from",
            hint="import it again from where its files lie, or `warmset rm` it",
        )
    origin = Origin.parse(record.source)
    pulled = pull(
        store,
        origin.reference,
        options=options(origin.reference),
        include=origin.wanted.include,
        exclude=origin.wanted.exclude,
        layout=origin.layout,
        allow_executable=True,  # it is here because somebody allowed it
        on_progress=on_progress,
        cancel=cancel,
        key=record.key,
    )
    if pulled.tree.digest != tree:
        raise Corrupted(
            f"{record.source} gives tree {pulled.tree.digest} now; {tree} stays damaged",
            hint="warmset rm the damaged one, and use the new one",
        )
    return pulled
