"""The cold half of a pull: fetch what is missing, verify it, publish the tree."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from api.digest import Digest
from api.tree import Tree
from cache.sources.artifact import Artifact, Filter
from cache.store.store import Store
from cache.transfer.engine import Settings, transfer
from cache.transfer.file import WantedFile
from cache.transfer.plan import plan
from cache.transfer.progress import Meter, Progress
from cache.transfer.reader import Session
from cache.unpack import WantedArchive


@dataclass(frozen=True, slots=True)
class Fetched:
    """The published tree; ``bytes_origin`` came over the network, ``bytes_reused`` were in the store before."""

    tree: Tree
    bytes_origin: int
    bytes_reused: int


def fetch(
    store: Store,
    artifact: Artifact,
    *,
    wanted: Filter,
    open_session: Callable[[], Session],
    workers: int,
    limit_bps: int | None,
    on_progress: Callable[[Progress], None] | None,
    cancel: threading.Event,
) -> Fetched:
    """Bring every blob into ``store`` and publish the tree. Raises what ``transfer`` and the store do."""
    blobs = {file.digest: file.size for file in artifact.files}
    missing = _missing(store, blobs)
    meter = Meter(bytes_total=artifact.size, files_total=len(blobs) + len(artifact.archives))
    reused = sum(blobs.values()) - sum(file.size for file in missing)
    meter.reused(reused)
    meter.finished(len(blobs) - len(missing))
    archives = [WantedArchive(archive, store, wanted) for archive in artifact.archives]
    # An archive's files are known only once it is unpacked; together they are no larger than it is.
    with store.claim({**blobs, **{archive.digest: archive.size for archive in artifact.archives}}):
        transfer(
            [*archives, *plan(missing)],
            store=store,
            open_session=open_session,
            settings=Settings(workers=workers, limit_bps=limit_bps),
            meter=meter,
            cancel=cancel,
            on_progress=on_progress,
        )
        tree = Tree.of([*artifact.files, *(file for archive in archives for file in archive.files)])
        store.publish_tree(tree)
    return Fetched(tree, bytes_origin=meter.snapshot().bytes_origin, bytes_reused=reused)


def _missing(store: Store, blobs: dict[Digest, int]) -> list[WantedFile]:
    return [WantedFile(digest, size) for digest, size in blobs.items() if not store.has_blob(digest, size)]
