"""Which part of a pull is shared with a group."""

from __future__ import annotations

import threading
from collections.abc import Callable

from api.digest import Digest
from api.tree import Tree
from cache.exchange.files import StoredBytes
from cache.exchange.group import Exchanges, exchange_id, shared_files
from cache.exchange.run import exchange
from cache.http.ranges import RangesIgnored
from cache.intake import Intake
from cache.sources.artifact import Artifact
from cache.store.places import Place
from cache.store.store import Store
from cache.transfer.progress import Meter, Progress
from cache.transfer.reader import Session


def fetch_together(
    artifact: Artifact,
    *,
    missing: frozenset[Digest],
    exchanges: Exchanges,
    place: Place,
    store: Store,
    intake: Intake,
    open_session: Callable[[], Session],
    limit_bps: int | None,
    meter: Meter,
    cancel: threading.Event,
    on_progress: Callable[[Progress], None] | None,
) -> frozenset[Digest]:
    """Fetch the artifact's large files with the group; returns those that are in the store now.

    Small files and archives are left to the caller: they are few bytes, or not known in pieces. So is everything where
    a file has no sha256 from its source, because nothing could tell a peer's bytes from wrong ones.
    """
    large = shared_files(artifact.files)
    if artifact.unhashed or artifact.archives or not any(file.digest in missing for file in large):
        return frozenset()
    try:
        exchange(
            large,
            present=frozenset(file.digest for file in large if file.digest not in missing),
            exchange_id=exchange_id(place.name, Tree.of(artifact.files).digest),
            exchanges=exchanges,
            store=intake,
            bytes_of=StoredBytes(store),
            open_session=open_session,
            limit_bps=limit_bps,
            meter=meter,
            cancel=cancel,
            on_progress=on_progress,
        )
    except RangesIgnored:
        return frozenset()
    return frozenset(file.digest for file in large)
