"""Bring a model into the store: resolve, fetch what is missing, publish the tree.

A present tree is a warm hit: only the manifest is asked for, or nothing at all where the reference is pinned by digest
and the store remembers having pulled it from this repository.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from api.reference import OciReference, Reference
from api.tree import Tree
from cache.http.network import network_from_env
from cache.sources.artifact import Filter
from cache.sources.oci.registry import Repository
from cache.sources.options import SourceOptions
from cache.sources.resolve import Resolved, require_oci, resolve_in
from cache.store.records import PullRecord
from cache.store.store import Store
from cache.transfer.progress import Progress


@dataclass(frozen=True, slots=True)
class Pulled:
    """``bytes_origin`` came over the network in this call; ``bytes_reused`` of the tree were in the store before."""

    revision: str
    tree: Tree
    path: Path
    bytes_origin: int
    bytes_reused: int
    source: str  # the reference pinned to the revision, and the filter: what a pull record keeps


def pull(
    store: Store,
    reference: Reference,
    *,
    options: SourceOptions,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    workers: int = 4,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    limit_bps: int | None = None,
    key: str | None = None,
) -> Pulled:
    """Make the model's tree present in ``store``, complete, verified and durable, and return where it is.

    ``key`` records the pull under the caller's name of the model. ``limit_bps`` is in bytes per second.
    Raises Cancelled when ``cancel`` is set (what has come stays for a resume), or what ``resolve`` and the store raise.
    """
    oci = require_oci(reference)
    wanted = Filter(tuple(include), tuple(exclude))
    pulled = _remembered(store, oci, wanted=wanted)
    if pulled is None:
        repository = Repository(oci, options=options, network=network_from_env())
        resolved = resolve_in(repository, oci, wanted=wanted)
        source = _source(resolved.reference, wanted)
        pulled = _present(store, resolved, source=source)
        if pulled is None:
            from cache.fetch import fetch  # the engine: a warm hit does without it, and without its import

            fetched = fetch(
                store,
                resolved.artifact,
                wanted=wanted,
                open_session=repository.session,
                workers=workers,
                limit_bps=limit_bps,
                on_progress=on_progress,
                cancel=cancel or threading.Event(),
            )
            pulled = Pulled(
                resolved.revision,
                fetched.tree,
                store.tree_path(fetched.tree.digest),
                bytes_origin=fetched.bytes_origin,
                bytes_reused=fetched.bytes_reused,
                source=source,
            )
    if key is not None:
        store.record_pull(PullRecord(key=key, revision=pulled.revision, tree=pulled.tree.digest, source=pulled.source))
    return pulled


def _source(pinned: OciReference, wanted: Filter) -> str:
    """What one tree comes from, as text: a revision of one repository, seen through one filter."""
    return f"{replace(pinned, tag=None)} {wanted}".rstrip()


def _remembered(store: Store, reference: OciReference, *, wanted: Filter) -> Pulled | None:
    """The tree of a reference pinned by digest that was pulled from this very repository before."""
    if reference.digest is None:
        return None
    return _recorded(store, _source(reference, wanted))


def _recorded(store: Store, source: str) -> Pulled | None:
    for record in store.pull_records():
        if record.source == source and (tree := store.tree(record.tree)) is not None:
            return _warm(store, tree, revision=record.revision, source=source)
    return None


def _present(store: Store, resolved: Resolved, *, source: str) -> Pulled | None:
    if resolved.tree is None:  # archives: only a record tells which tree they unpacked to
        return _recorded(store, source)
    tree = store.tree(resolved.tree.digest)
    return None if tree is None else _warm(store, tree, revision=resolved.revision, source=source)


def _warm(store: Store, tree: Tree, *, revision: str, source: str) -> Pulled:
    return Pulled(revision, tree, store.tree_path(tree.digest), bytes_origin=0, bytes_reused=tree.size, source=source)
