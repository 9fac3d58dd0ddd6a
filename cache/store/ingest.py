"""One blob under way: chunks arrive in any order, the whole is verified, then it exists or it does not.

Order of a commit (design, "The node's store"): preallocate, chunks written, journal, sha256 of the whole file, fsync,
rename into blobs (the point of no return), fsync of the folder. The rest of the ingest's folder goes afterwards; what a
crash leaves of it is swept at start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from api.digest import Digest
from api.errors import DigestMismatch, DiskError, InvalidRequest, WarmsetError
from cache.store.blobs import install
from cache.store.datafile import IO, DataFile
from cache.store.failures import disk_errors, failure
from cache.store.files import remove_folder
from cache.store.journal import Chunks, Journal, boot_id, chunk_count, parse, place_id
from cache.store.layout import Layout

DATA = "data"
JOURNAL = "chunks.journal"
# After so many bytes the data file is synced and the journal says so: what a power loss can cost of one blob.
SYNC_BYTES = 1 << 30


class Ingest:
    """``write``, ``written`` and ``read`` may be called from several threads, each chunk by one thread at a time;
    ``commit``, ``discard`` and ``close`` by one thread, when no other call is under way.

    A chunk that ``have`` names was not necessarily written by this process: hash what ``read`` returns of it.
    """

    def __init__(
        self,
        digest: Digest,
        *,
        size: int,
        chunk_bytes: int,
        layout: Layout,
        data: DataFile,
        journal: Journal,
        chunks: frozenset[int],
        check_root: Callable[[], None],
        on_close: Callable[[], None],
    ) -> None:
        self.digest = digest
        self.size = size
        self.chunk_bytes = chunk_bytes
        self._layout = layout
        self._folder = layout.ingest(digest)
        self._data = data
        self._journal = journal
        self._have = set(chunks)
        self._check_root = check_root
        self._on_close = on_close
        self._lock = threading.Lock()  # the journal and the three below
        self._unsynced_bytes = 0
        self._failed: WarmsetError | None = None
        self._open = True
        self._syncing = threading.Lock()  # one thread syncs, the others go on writing

    @classmethod
    def open(
        cls,
        digest: Digest,
        *,
        size: int,
        chunk_bytes: int,
        place: str,
        layout: Layout,
        io: IO,
        check_root: Callable[[], None],
        on_close: Callable[[], None],
    ) -> Ingest:
        """Start, or resume what an earlier ingest of the same digest left that came from the same place.

        ``check_root`` raises when the root is lost; ``on_close`` is called once, when the ingest ends in any way.
        Raises InsufficientCache or DiskError, and then keeps only what an earlier ingest had.
        """
        if size < 0 or chunk_bytes <= 0:
            raise InvalidRequest(f"{digest}: size {size}, chunk size {chunk_bytes}")
        folder = layout.ingest(digest)
        boot = boot_id()
        with disk_errors(f"starting the ingest of {digest}"):
            folder.mkdir(mode=0o700, exist_ok=True)
            chunks = _left_over(folder, boot=boot, size=size, chunk_bytes=chunk_bytes, place=place_id(place))
            try:
                data = DataFile.open(folder / DATA, size=size, io=io)
                try:
                    journal = Journal.start(
                        folder / JOURNAL, boot=boot, chunk_bytes=chunk_bytes, chunks=chunks, place=place_id(place)
                    )
                except OSError:
                    data.close()
                    raise
            except OSError:
                if not chunks.present:
                    remove_folder(folder)  # a full disk gets back what was allocated in vain
                raise
        return cls(
            digest,
            size=size,
            chunk_bytes=chunk_bytes,
            layout=layout,
            data=data,
            journal=journal,
            chunks=chunks.present,
            check_root=check_root,
            on_close=on_close,
        )

    def __repr__(self) -> str:
        return f"Ingest({self.digest}, {len(self._have)} of {self.chunks} chunks)"

    @property
    def chunks(self) -> int:
        """How many chunks the blob has; the last may be short."""
        return chunk_count(self.size, chunk_bytes=self.chunk_bytes)

    def have(self) -> frozenset[int]:
        """Indices of the chunks that are on disk."""
        with self._lock:
            return frozenset(self._have)

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of ``data`` at ``offset``. Raises InsufficientCache, DiskError."""
        self._usable()
        if offset < 0 or offset + len(data) > self.size:
            raise InvalidRequest(f"{self.digest} has {self.size} bytes, not {offset + len(data)}")
        with disk_errors(f"writing {self.digest}"):
            self._data.write(offset, data)

    def use_cache(self) -> None:
        """Write through the page cache from now on, since what is written is read again soon. Before any ``write``."""
        self._data.use_cache()

    def write_back(self, chunk: int) -> None:
        """Let the disk begin with a chunk that was written through the page cache. A hint."""
        self._data.write_back(chunk * self.chunk_bytes, self.chunk_bytes)

    def written(self, chunk: int) -> None:
        """Journal a chunk, all of whose bytes were written. Raises InsufficientCache, DiskError."""
        self._usable()
        if not 0 <= chunk < self.chunks:
            raise InvalidRequest(f"{self.digest} has {self.chunks} chunks, not a chunk {chunk}")
        with self._lock:
            if chunk in self._have:
                return
            with disk_errors(f"journaling {self.digest}"):
                self._journal.chunk(chunk)
            self._have.add(chunk)
            self._unsynced_bytes += self.chunk_bytes
            due = self._unsynced_bytes >= SYNC_BYTES
        if due and self._syncing.acquire(blocking=False):
            try:
                self._sync()
            finally:
                self._syncing.release()

    def read(self, offset: int, into: memoryview) -> int:
        """Fill ``into`` from ``offset``; returns the bytes read, fewer only at the end. Raises DiskError."""
        with disk_errors(f"reading {self.digest}"):
            return self._data.read(offset, into)

    def commit(self, actual: Digest) -> None:
        """Make it a blob, given the sha256 that the caller computed over all its bytes.

        Raises DigestMismatch (and discards, so that the next ingest starts afresh), CacheVolumeLost, InsufficientCache
        or DiskError; InvalidRequest when a chunk is not ``written``. After an error the blob is absent, or complete but
        perhaps not durable.
        """
        self._usable()
        if actual != self.digest:
            self._check_root()
            self.discard()
            raise DigestMismatch(
                f"expected {self.digest}, got {actual}", hint="the source serves other bytes; try again"
            )
        self.adopt(actual)

    def adopt(self, actual: Digest) -> None:
        """``commit`` for a file whose source publishes no sha256: the ingest's own digest was only a key for it.

        The caller MUST have computed ``actual`` over all bytes, and checked whatever else is known of them.
        """
        self._usable()
        self._check_root()
        if len(self._have) != self.chunks:
            # The caller hashed what it received; a chunk that never reached the file would go unnoticed.
            raise InvalidRequest(f"{self.digest}: {self.chunks - len(self._have)} chunks are not written")
        try:
            self._data.seal()
        except OSError as error:
            self._give_up(error)
            self.discard()
            raise self._failed or failure(error, doing=f"syncing {self.digest}") from error
        with disk_errors(f"committing {self.digest}"):
            install(self._layout, self._folder / DATA, digest=actual, size=self.size)
            self._release(remove=True)

    def discard(self) -> None:
        """Close and delete what was written so far. Raises DiskError."""
        with disk_errors(f"discarding the ingest of {self.digest}"):
            self._release(remove=True)

    def close(self) -> None:
        """Stop, and keep what was written for a later ingest of the same digest, also after another boot.

        After a failed sync nothing is kept. Does nothing after ``commit`` or ``discard``. Raises DiskError or
        InsufficientCache, the ingest being closed all the same.
        """
        if not self._open:
            return
        try:
            if self._failed is None and self._unsynced_bytes:
                self._sync()
        finally:
            self._release(remove=False)
            if self._failed is not None:
                self.discard()

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _usable(self) -> None:
        if self._failed is not None:
            raise self._failed
        if not self._open:
            raise DiskError(f"the ingest of {self.digest} is closed")

    def _sync(self) -> None:
        with self._lock:
            covered, length = self._unsynced_bytes, self._journal.length
        try:
            self._data.sync()
            with self._lock:
                self._journal.synced(length)
                self._unsynced_bytes -= covered
        except OSError as error:
            self._give_up(error)
            raise self._failed or failure(error, doing=f"syncing {self.digest}") from error

    def _give_up(self, error: OSError) -> None:
        # After a failed fsync the kernel may have dropped the dirty pages and marked them clean: a second fsync would
        # succeed over lost bytes. So nothing of this ingest is relied upon any more.
        with self._lock:
            self._failed = failure(error, doing=f"syncing {self.digest}")
            self._have.clear()
            with disk_errors(f"discarding the ingest of {self.digest}"):
                self._journal.forget()

    def _release(self, *, remove: bool) -> None:
        was_open, self._open = self._open, False
        try:
            if was_open:
                self._data.close()
                self._journal.close()
            if remove:
                remove_folder(self._folder)
        finally:
            if was_open:
                self._on_close()  # last: whoever waits for it makes the folder anew


def _left_over(folder: Path, *, boot: bytes, size: int, chunk_bytes: int, place: bytes) -> Chunks:
    """What may be kept of an earlier ingest in ``folder``."""
    nothing = Chunks(present=frozenset(), durable=frozenset())
    try:
        raw = (folder / JOURNAL).read_bytes()
        length = (folder / DATA).lstat().st_size
    except FileNotFoundError:
        return nothing
    count = chunk_count(size, chunk_bytes=chunk_bytes)
    found = parse(raw, boot=boot, chunk_bytes=chunk_bytes, count=count, place=place)
    whole = frozenset(chunk for chunk in found.present if min((chunk + 1) * chunk_bytes, size) <= length)
    return Chunks(present=whole, durable=found.durable & whole)
