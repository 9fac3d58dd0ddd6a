"""What stands between the transfer engine and the store while a pull runs.

It takes in files that have only a key, checks what else is known of them, and lets them enter the store under the
sha256 that their bytes turned out to have; and it notes of every blob which place it came through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from api.digest import Digest
from api.errors import DigestMismatch
from cache.aligned import aligned_buffer
from cache.sources.artifact import Unhashed
from cache.store.ingest import Ingest
from cache.store.places import Place
from cache.store.store import Store

_READ_BYTES = 1 << 20


class Intake:
    """The engine's BlobStore. ``found`` fills with the sha256 of files by key, once they are in the store.

    ``trust_store`` as in pull: without it, a blob that another pull brings meanwhile is fetched nevertheless.
    """

    def __init__(self, store: Store, *, place: Place, unhashed: Iterable[Unhashed], trust_store: bool) -> None:
        self._store = store
        self._place = place
        self._unhashed = {file.key: file for file in unhashed}
        self._trust_store = trust_store
        self.found: dict[Digest, Digest] = {}

    def has_blob(self, digest: Digest, size: int, /) -> bool:
        known = self._place.known()
        actual = known.hashes.get(digest) if digest in self._unhashed else digest
        if actual is None or not self._store.has_blob(actual, size):
            return False
        if not self._trust_store and actual not in known.proven:
            return False
        if digest in self._unhashed:
            self.found[digest] = actual
        return True

    def ingest(self, digest: Digest, *, size: int, chunk_bytes: int) -> WatchedIngest:
        place = "" if self._trust_store else self._place.name
        ingest = self._store.ingest(digest, size=size, chunk_bytes=chunk_bytes, place=place)
        file = self._unhashed.get(digest)
        return WatchedIngest(ingest, commit=self._commit if file is None else partial(self._adopt, file=file))

    def commit_small(self, items: Sequence[tuple[Digest, bytes]], /) -> None:
        """Raises DigestMismatch before any is written."""
        found: dict[Digest, Digest] = {}
        named: list[tuple[Digest, bytes]] = []
        for digest, data in items:
            file = self._unhashed.get(digest)
            if file is None:
                named.append((digest, data))
                continue
            _check(file, git_sha1(len(data), [data]) if file.git_sha1 else "")
            found[digest] = Digest(hashlib.sha256(data).hexdigest())
            named.append((found[digest], data))
        self._store.commit_small(named)
        self._came_in([digest for digest, _ in named], found)

    def _commit(self, ingest: Ingest, actual: Digest) -> None:
        ingest.commit(actual)
        self._came_in([actual], {})

    def _adopt(self, ingest: Ingest, actual: Digest, *, file: Unhashed) -> None:
        if file.git_sha1:
            try:
                _check(file, git_sha1(file.size, _read(ingest)))
            except DigestMismatch:
                ingest.discard()
                raise
        ingest.adopt(actual)
        self._came_in([actual], {file.key: actual})

    def _came_in(self, digests: Sequence[Digest], found: Mapping[Digest, Digest]) -> None:
        # At once and not at the end, so that a pull that is cut short fetches nothing twice.
        self._place.note(proven=digests, hashes=found)
        self.found.update(found)


class WatchedIngest:
    """A store's ingest whose commit does what ``commit`` says; the rest goes straight to it."""

    def __init__(self, ingest: Ingest, *, commit: Callable[[Ingest, Digest], None]) -> None:
        self._ingest = ingest
        self._commit = commit
        self.have = ingest.have
        self.write = ingest.write
        self.written = ingest.written
        self.read = ingest.read
        self.use_cache = ingest.use_cache
        self.write_back = ingest.write_back
        self.discard = ingest.discard
        self.close = ingest.close

    def commit(self, actual: Digest, /) -> None:
        self._commit(self._ingest, actual)


def git_sha1(size: int, pieces: Iterable[bytes | memoryview]) -> str:
    """What git names a file's content by: sha1 over a header and the bytes (git's object format, "blob")."""
    sha1 = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    for piece in pieces:
        sha1.update(piece)
    return sha1.hexdigest()


def _read(ingest: Ingest) -> Iterable[memoryview]:
    buffer = aligned_buffer(_READ_BYTES)
    offset = 0
    while offset < ingest.size:
        got = ingest.read(offset, buffer[: min(_READ_BYTES, ingest.size - offset)])
        yield buffer[:got]
        offset += got


def _check(file: Unhashed, actual: str) -> None:
    if actual != file.git_sha1:
        raise DigestMismatch(
            f"{file.path}: expected git-sha1 {file.git_sha1}, got {actual}",
            hint="the source serves other bytes; try again",
        )
