"""Which part of a pull is shared with a group: every blob whose sha256 its source publishes, and what the source said.

Nothing else can be: without a sha256 nothing tells a peer's bytes from wrong ones, and every member must know the same
list from the start. Files without one are read from the source by every member; what it found is its own knowledge.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import replace

from api.digest import Digest
from api.errors import InvalidArtifact, UnsupportedSource
from api.reference import OciReference
from api.tree import Tree
from cache.exchange.ask import ask_for_manifest, ask_for_tree
from cache.exchange.files import StoredBytes
from cache.exchange.group import Exchanges
from cache.exchange.holding import Holding, in_order, remember
from cache.exchange.run import Deserted, exchange
from cache.http.ranges import RangesIgnored
from cache.intake import Intake
from cache.origin import Origin
from cache.sources.artifact import Artifact
from cache.sources.options import SourceOptions
from cache.sources.source import Resolved
from cache.store.store import Store
from cache.transfer.file import WantedFile
from cache.transfer.progress import Meter, Progress
from cache.transfer.reader import Session
from cache.transfer.throttle import Rate


def resolve_by_peers(origin: Origin, *, options: SourceOptions, exchanges: Exchanges) -> Resolved | None:
    """What the reference means, by a manifest that a peer keeps; None where its digest is not given, or nobody has it.

    A peer cannot tell a lie about what a digest names.
    """
    from cache.sources.oci.source import resolve_oci  # only where it is needed: each source is

    reference = origin.reference
    if not isinstance(reference, OciReference) or reference.digest is None:
        return None
    body = ask_for_manifest(exchanges.group, exchange=origin.exchange, digest=reference.digest)
    if body is None:
        return None
    try:
        return resolve_oci(reference, options=options, wanted=origin.wanted, manifest=body)
    except (InvalidArtifact, UnsupportedSource):
        return None  # the source says the same, and in its own words


def fixed_by_peers(resolved: Resolved, tree: Digest, *, origin: Origin, exchanges: Exchanges) -> Resolved:
    """With the hashes of a tree that was fixed before, where its source publishes none and a peer can list it."""
    if _published(resolved.artifact):
        return resolved
    found = ask_for_tree(exchanges.group, exchange=origin.exchange, digest=tree)
    return resolved if found is None else replace(resolved, artifact=_settled(resolved.artifact, found))


def _published(artifact: Artifact) -> bool:
    """Does the source tell the content of anything? Then everybody shares that, and nobody the rest."""
    return bool(artifact.archives or any(f.size for f in artifact.files) or any(f.git_sha1 for f in artifact.unhashed))


def _settled(artifact: Artifact, tree: Tree) -> Artifact:
    """As all list it who know the tree that it made."""
    return artifact if _published(artifact) else artifact.fixed({file.path: file.digest for file in tree.files})


def shared_blobs(artifact: Artifact) -> tuple[WantedFile, ...]:
    """What a group shares of an artifact as its source describes it."""
    blobs = {file.digest: file.size for file in artifact.files}
    return in_order(blobs | {archive.digest: archive.size for archive in artifact.archives})


def share(store: Store, resolved: Resolved, tree: Tree, *, origin: Origin, exchanges: Exchanges) -> None:
    """Serve what is held whole now, from this process and from the next. ``origin`` is pinned. Raises DiskError."""
    blobs = shared_blobs(_settled(resolved.artifact, tree))
    holding = Holding(origin.exchange, tree, blobs, resolved.manifest)
    remember(store, holding)
    exchanges.hold(holding)


def fetch_together(
    resolved: Resolved,
    *,
    present: Collection[Digest],
    origin: Origin,
    exchanges: Exchanges,
    store: Store,
    intake: Intake,
    open_session: Callable[[], Session],
    limit: Rate | None,
    meter: Meter,
    cancel: threading.Event,
    on_progress: Callable[[Progress], None] | None,
) -> frozenset[Digest]:
    """Fetch what a group shares; returns the digests of all of it, or none where it was of no use.

    ``present`` may be taken as it is. Layers are in the store as blobs then, that no tree links.
    """
    wanted = shared_blobs(resolved.artifact)
    if not exchanges.group.others or all(file.digest in present for file in wanted):
        return frozenset()
    try:
        exchange(
            wanted,
            present=frozenset(file.digest for file in wanted if file.digest in present),
            exchange_id=origin.exchange,
            exchanges=exchanges,
            manifest=resolved.manifest,
            store=intake,
            bytes_of=StoredBytes(store),
            open_session=open_session,
            limit=limit,
            meter=meter,
            cancel=cancel,
            on_progress=on_progress,
        )
    except (RangesIgnored, Deserted):
        return frozenset()
    return frozenset(file.digest for file in wanted)
