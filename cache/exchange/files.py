"""The files of an exchange: where chunks are written, hashed in order, checked, repaired and committed.

A chunk is passed on before its file is verified, so a wrong one may have come from a peer. Who brought which chunk is
kept, for the repair of a file whose hash is wrong.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from api.digest import Digest
from cache.aligned import aligned_buffer
from cache.exchange.bits import NOTHING, bit
from cache.exchange.chunks import ChunkMap
from cache.exchange.repair import Fetches, repair
from cache.store.ingest import DATA
from cache.store.layout import Layout
from cache.store.store import Store
from cache.transfer.batch import SMALL_BYTES
from cache.transfer.file import WantedFile
from cache.transfer.frontier import Frontier
from cache.transfer.plan import BATCH_BYTES, BATCH_FILES

PIECE_BYTES = 1 << 20  # a thread a peer has one such buffer; chunks are multiples of it


class CachedIngest(Protocol):
    """An ingest that can write through the page cache: what comes in is sent on to peers, and hashed, at once."""

    def have(self) -> frozenset[int]: ...
    def write(self, offset: int, data: memoryview, /) -> None: ...
    def written(self, chunk: int, /) -> None: ...
    def read(self, offset: int, into: memoryview, /) -> int: ...
    def commit(self, actual: Digest, /) -> None: ...
    def discard(self) -> None: ...
    def close(self) -> None: ...
    def use_cache(self) -> None: ...
    def write_back(self, chunk: int, /) -> None: ...


class Ingests(Protocol):
    def ingest(self, digest: Digest, *, size: int, chunk_bytes: int) -> CachedIngest: ...
    def commit_small(self, items: Sequence[tuple[Digest, bytes]], /) -> None: ...


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """The blobs of a store, committed or under way."""

    store: Store

    def open(self, digest: Digest) -> BinaryIO:
        """Open for reading. Raises FileNotFoundError where there is neither, OSError."""
        blob = self.store.blob_path(digest)
        try:
            return (Layout(self.store.root).ingest(digest) / DATA).open("rb")
        except FileNotFoundError:  # it is committed, perhaps just now
            return blob.open("rb")


@dataclass(slots=True)
class _File:
    wanted: WantedFile
    ingest: CachedIngest
    frontier: Frontier
    settled: set[int] = field(default_factory=set)  # chunks that nobody may write to any more
    lock: threading.Lock = field(default_factory=threading.Lock)  # the set, and writing


@dataclass(slots=True)
class Files:
    """``write`` and ``arrived`` are for the threads that fetch; ``hash_all`` is the body of a hasher's thread."""

    chunks: ChunkMap
    wanted: tuple[WantedFile, ...]
    store: Ingests
    have: int = NOTHING  # what was here at the beginning
    _open: dict[int, _File] = field(default_factory=dict)
    _sources: dict[int, set[int]] = field(default_factory=dict)  # by chunk, the members that wrote to it
    _ready: queue.SimpleQueue[int | None] = field(default_factory=queue.SimpleQueue)
    _left: int = 0
    _small: list[tuple[_File, bytes]] = field(default_factory=list)  # verified, to be committed together
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(
        cls, wanted: Sequence[WantedFile], *, present: frozenset[Digest], store: Ingests, chunk_bytes: int
    ) -> Files:
        """``wanted`` is the same list on every member; ``present`` are those that are here whole.

        Raises what ``ingest`` does; then nothing stays open.
        """
        files = cls(ChunkMap.of([file.size for file in wanted], chunk_bytes=chunk_bytes), tuple(wanted), store)
        try:
            for number, file in enumerate(wanted):
                if file.digest in present:
                    for chunk in files.chunks.of_file(number):
                        files.have |= bit(chunk)
                else:
                    files._begin(number, store.ingest(file.digest, size=file.size, chunk_bytes=chunk_bytes))
        except BaseException:
            files.close()
            raise
        return files

    def _begin(self, number: int, ingest: CachedIngest) -> None:
        ingest.use_cache()
        wanted = self.wanted[number]
        frontier = Frontier(size=wanted.size, piece_bytes=PIECE_BYTES, read=ingest.read, release=lambda _: None)
        self._open[number] = _File(wanted, ingest, frontier)
        self._left += 1
        first = self.chunks.firsts[number]
        for index in ingest.have():
            place = self.chunks.place(first + index)
            frontier.on_disk(place.start, place.stop)
            self.have |= bit(first + index)
        self._ready.put(number)

    @property
    def resumed_bytes(self) -> int:
        """Of the files that are not whole, what is here already."""
        places = (self.chunks.place(chunk) for number in self._open for chunk in self.chunks.of_file(number)
                  if self.have >> chunk & 1)  # fmt: skip
        return sum(place.stop - place.start for place in places)

    def write(self, chunk: int, offset: int, data: memoryview, *, member: int | None) -> None:
        """Write a piece, unless the chunk came from elsewhere meanwhile."""
        file = self._open[self.chunks.place(chunk).file]
        with file.lock:
            if chunk in file.settled:
                return
            if member is not None:
                self._sources.setdefault(chunk, set()).add(member)
            file.ingest.write(offset, data)

    def settle(self, chunk: int) -> bool:
        """All of a chunk is written, and stays as it is: what is hashed and passed on from now on is what is committed.

        False where it was settled before.
        """
        file = self._open[self.chunks.place(chunk).file]
        with file.lock:
            first = chunk not in file.settled
            file.settled.add(chunk)
        return first

    def arrived(self, chunk: int) -> None:
        """A chunk was settled; its file may be hashed on. Once a chunk."""
        place = self.chunks.place(chunk)
        file = self._open[place.file]
        file.ingest.written(place.index)
        file.ingest.write_back(place.index)
        file.frontier.on_disk(place.start, place.stop)
        self._ready.put(place.file)

    def hash_all(self, *, fetches: Fetches, finished: Callable[[], None]) -> None:
        """Hash what comes, commit what is whole, until all is or ``end``. Raises DigestMismatch, DiskError, …"""
        scratch = aligned_buffer(PIECE_BYTES)
        while (number := self._ready.get()) is not None:
            file = self._open[number]
            digest = file.frontier.advance(scratch)
            if digest is None:
                continue
            if digest != file.wanted.digest:
                digest = self._repair(number, file, fetches=fetches)
            if file.wanted.size <= SMALL_BYTES and digest == file.wanted.digest:
                self._commit_soon(file, scratch, finished=finished)
            else:
                file.ingest.commit(digest)
                self._committed(1, finished=finished)

    def _commit_soon(self, file: _File, scratch: memoryview, *, finished: Callable[[], None]) -> None:
        """One by one, small files would spend most of the time in syncs. Until then their ingests serve the peers."""
        length = file.ingest.read(0, scratch[: file.wanted.size])
        with self._lock:
            self._small.append((file, bytes(scratch[:length])))
        self._committed(0, finished=finished)

    def _committed(self, count: int, *, finished: Callable[[], None]) -> None:
        """So many files were committed; commit the small ones when they are enough, or all that is left."""
        with self._lock:
            self._left -= count
            small = self._small
            due = len(small) >= min(BATCH_FILES, self._left) or sum(len(data) for _, data in small) >= BATCH_BYTES
            if due:
                self._small = []
        for _ in range(count):
            finished()
        if due and small:
            self.store.commit_small([(file.wanted.digest, data) for file, data in small])
            for file, _ in small:
                file.ingest.discard()
            self._committed(len(small), finished=finished)
        elif not self._left:
            self.end()

    @property
    def complete(self) -> bool:
        return not self._left

    def end(self) -> None:
        """Send the hashers home."""
        for _ in range(4):
            self._ready.put(None)

    def close(self) -> None:
        """Keep what was written for a resume. After every thread has left."""
        for file in self._open.values():
            file.ingest.close()

    def _repair(self, number: int, file: _File, *, fetches: Fetches) -> Digest:
        try:
            return repair(
                file.wanted,
                file.ingest,
                numbers=self.chunks.of_file(number),
                chunks=self.chunks,
                sources=self._sources,
                resumed=self.have,
                fetches=fetches,
            )
        except BaseException:
            file.ingest.discard()  # who brought which chunk is known only now: nothing of it can be gone on with
            raise
