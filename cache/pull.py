"""Bring a model into the store: resolve, fetch what is missing, publish the tree.

A present tree is a warm hit: only the source's listing is asked for, or nothing at all where the reference is pinned
and the store remembers having pulled it from this very place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from api.digest import Digest
from api.errors import DigestMismatch, SourceChanged
from api.reference import Reference
from api.tree import Tree
from cache.exhaustion import exhaustion
from cache.layouts import arrange, check_layout
from cache.origin import Layout, Origin
from cache.pulled import Pulled
from cache.sources.artifact import Filter
from cache.sources.options import SourceOptions
from cache.sources.resolve import resolve_wanted
from cache.sources.source import Resolved
from cache.store.places import Place
from cache.store.records import PullRecord
from cache.store.store import Store
from cache.transfer.progress import Progress

if TYPE_CHECKING:
    from cache.exchange.group import Exchanges
    from cache.transfer.throttle import Rate

__all__ = ["Pulled", "pull"]

NEW_BYTES = (
    "ask whoever keeps the source; if the new bytes are right, give them a new name or version, or change spec.sha256"
)
NONE_GIVEN: Mapping[str, Digest] = MappingProxyType({})


def pull(
    store: Store,
    reference: Reference,
    *,
    options: SourceOptions,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    sha256: Mapping[str, Digest] = NONE_GIVEN,
    tree: Digest | None = None,
    layout: Layout = "plain",
    allow_executable: bool = False,
    trust_store: bool = False,
    workers: int = 4,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    limit: Rate | None = None,
    key: str | None = None,
    exchanges: Exchanges | None = None,
) -> Pulled:
    """Make the model's tree present in ``store``, complete, verified and durable, and return where it is.

    ``trust_store`` says that all in the store belongs to one user, whose every reference may have it. Without it, what
    is present counts only where it came through the same place before (its repository, its bucket's prefix); all else
    is read through the reference and hashed, though stored once: a registry may name digests that it does not have.

    ``sha256`` fixes files by their paths, and ``tree`` all of them; they are for what the source publishes no hash of.
    ``allow_executable`` takes files of formats that run code when they are loaded; else they raise ExecutableContent.
    ``exchanges`` shares the pull with a group of nodes, and lets them read the tree afterwards.
    ``key`` records the pull under the caller's name of the model. ``limit`` may be shared with other pulls.
    Raises Cancelled when ``cancel`` is set (what has come stays for a resume), or what ``resolve`` and the store raise.
    """
    check_layout(layout, reference=reference)
    origin = Origin(reference, Filter(tuple(include), tuple(exclude), allow_executable), layout)
    place = Place(store.root, reference.place)
    pulled = _recorded(store, origin) if reference.is_pinned else None
    if pulled is None or not _agrees(pulled.tree, sha256, tree, layout=layout):
        resolved = _resolve(origin, options=options, exchanges=exchanges)
        resolved = replace(resolved, artifact=resolved.artifact.fixed(sha256))
        resolved.artifact.check(origin.wanted)
        origin = replace(origin, reference=resolved.reference)
        if tree is not None and exchanges is not None:
            from cache.together import fixed_by_peers

            resolved = fixed_by_peers(resolved, tree, origin=origin, exchanges=exchanges)
        pulled = _present(store, resolved, origin=origin, place=place, trust_store=trust_store)
        if pulled is None:
            from cache.fetch import fetch  # the engine: a warm hit does without it, and without its import

            with exhaustion("pulling"), _fixed(bool(sha256) or tree is not None, place=place):
                fetched = fetch(
                    store,
                    resolved,
                    origin=origin,
                    place=place,
                    trust_store=trust_store,
                    workers=workers,
                    limit=limit,
                    on_progress=on_progress,
                    cancel=cancel or threading.Event(),
                    exchanges=exchanges,
                )
            pulled = Pulled(
                resolved.revision,
                fetched.tree,
                store.tree_path(fetched.tree.digest),
                bytes_origin=fetched.bytes_origin,
                bytes_reused=fetched.bytes_reused,
                source=str(origin),
            )
        _check_tree(pulled, tree)
        if exchanges is not None:
            from cache.together import share

            share(store, resolved, pulled.tree, origin=origin, exchanges=exchanges)
    origin.wanted.check(file.path for file in pulled.tree.files)  # it may be here since somebody allowed it
    if key is not None:
        record = PullRecord(key=key, revision=pulled.revision, tree=pulled.tree.digest, source=pulled.source)
        if record not in store.pull_records():  # a durable write waits for the disk; a warm hit need not
            store.record_pull(record)
    return pulled


def _check_tree(pulled: Pulled, fixed: Digest | None) -> None:
    if fixed is not None and pulled.tree.digest != fixed:
        raise SourceChanged(
            f"{pulled.source} made the tree {pulled.tree.digest} here, and {fixed} on the node that read it first",
            hint=NEW_BYTES,
        )


def _agrees(tree: Tree, sha256: Mapping[str, Digest], fixed: Digest | None, *, layout: Layout) -> bool:
    """Is it what is given? Arranged otherwise, which are published anyhow, files have other paths."""
    found = {file.path: file.digest for file in tree.files}
    given = layout != "plain" or all(found.get(path) == digest for path, digest in sha256.items())
    return given and fixed in (None, tree.digest)


@contextmanager
def _fixed(given: bool, *, place: Place) -> Iterator[None]:
    try:
        yield
    except DigestMismatch as error:
        if not given:
            raise
        raise SourceChanged(f"{place.name}: {error.message}; its sha256 was fixed before", hint=NEW_BYTES) from error


def _resolve(origin: Origin, *, options: SourceOptions, exchanges: Exchanges | None) -> Resolved:
    if exchanges is not None:
        from cache.together import resolve_by_peers

        resolved = resolve_by_peers(origin, options=options, exchanges=exchanges)
        if resolved is not None:
            return resolved
    return resolve_wanted(origin.reference, options=options, wanted=origin.wanted)


def _present(store: Store, resolved: Resolved, *, origin: Origin, place: Place, trust_store: bool) -> Pulled | None:
    known = place.known()
    found = resolved.artifact.with_hashes(known.hashes).tree
    if found is None:  # archives, or the first pull of a version: only a record tells which tree came of it
        return _recorded(store, origin)
    if not trust_store and not found.blobs.keys() <= known.proven:
        return None
    arranged = arrange(found, layout=origin.layout, reference=origin.reference, git=resolved.artifact.unhashed)
    tree = store.tree(arranged.tree.digest)
    return None if tree is None else _warm(store, tree, revision=resolved.revision, source=str(origin))


def _recorded(store: Store, origin: Origin) -> Pulled | None:
    """The tree of a pinned origin, as pulled before from the very same place."""
    source = str(origin)
    for record in store.pull_records():
        if record.source == source and (tree := store.tree(record.tree)) is not None:
            return _warm(store, tree, revision=record.revision, source=source)
    return None


def _warm(store: Store, tree: Tree, *, revision: str, source: str) -> Pulled:
    return Pulled(revision, tree, store.tree_path(tree.digest), bytes_origin=0, bytes_reused=tree.size, source=source)
