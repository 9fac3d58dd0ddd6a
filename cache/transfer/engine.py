"""Worker threads that bring blobs from a source into a store: verified while they stream, resumable, bounded.

Memory: each worker has one piece of its own, and all share a pool, together workers x one chunk. Threads rather than
an event loop: receiving, hashing and writing all release the interpreter's lock. For many small files a worker has
helpers, a thread and a connection each (batch.py).

Failure model: the first error that retries did not cure stops all workers; what was written stays for a resume. A
cancel (the event, or an interrupt in the waiting thread) does the same.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from api.digest import Digest
from api.errors import Cancelled, DigestMismatch, Pulling
from cache.aligned import aligned_buffer
from cache.http.ranges import RangesIgnored
from cache.http.retry import RetryPolicy
from cache.transfer.batch import WantedBatch, fetch_batch
from cache.transfer.buffers import BufferPool
from cache.transfer.file import PIECE_BYTES, Ingest, OpenFile, Tools, WantedFile
from cache.transfer.progress import Meter, Progress
from cache.transfer.reader import Link, Session
from cache.transfer.schedule import Run, Schedule, Share
from cache.transfer.throttle import Rate, Throttle

CHUNK_BYTES = 16 << 20  # the unit of resume, of sharing a file, and of a worker's share of memory
MAX_TRIES = 2  # a wrong digest may be the network's fault once
_TICK_S = 0.1  # progress is told ten times a second at most
_LEAVE_S = 10.0  # how long workers get to leave after a stop; they may be in a name look-up, which nothing interrupts


class BlobStore(Protocol):
    """Where blobs go. MUST verify what it commits: ``ingest(...).commit`` and ``commit_small`` raise DigestMismatch.
    ``ingest`` MUST raise Pulling while another transfer has the blob open."""

    def has_blob(self, digest: Digest, size: int, /) -> bool: ...
    def ingest(self, digest: Digest, *, size: int, chunk_bytes: int) -> Ingest: ...
    def commit_small(self, items: Sequence[tuple[Digest, bytes]], /) -> None: ...


class WantedOther(Protocol):
    """Any other work that a worker does from beginning to end by itself, such as unpacking an archive."""

    def run(self, tools: Tools) -> None: ...


Task = WantedFile | WantedBatch | WantedOther


@dataclass(frozen=True, slots=True)
class Settings:
    workers: int = 4
    limit: Rate | None = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)


def transfer(
    tasks: Sequence[Task],
    *,
    store: BlobStore,
    open_session: Callable[[], Session],
    settings: Settings,
    meter: Meter,
    cancel: threading.Event,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Do all tasks. Returns when every one of them is committed; progress is told in the calling thread.

    Raises the first named error of a worker, or Cancelled; then nothing of a task is half-committed.
    """
    crew = _Crew(tasks, store=store, settings=settings, meter=meter, cancel=cancel, open_session=open_session)
    crew.run(on_progress)


class _Crew:
    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        store: BlobStore,
        settings: Settings,
        meter: Meter,
        cancel: threading.Event,
        open_session: Callable[[], Session],
    ) -> None:
        self._store = store
        self._meter = meter
        self._cancel = cancel
        self._open_session = open_session
        self._stop = threading.Event()  # set for a cancel and for an error alike; workers look only at this one
        workers = settings.workers
        self._workers = workers
        self._schedule: Schedule[Task] = Schedule(tasks, workers=workers)
        self._pool = BufferPool(count=workers * (CHUNK_BYTES // PIECE_BYTES - 1), size=PIECE_BYTES)
        self._link = Link(settings.policy, self._stop, Throttle(settings.limit, cancel=self._stop), meter)
        self._open: dict[Share, OpenFile] = {}
        self._sessions: list[Session] = []
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def run(self, on_progress: Callable[[Progress], None] | None) -> None:
        threads = [
            threading.Thread(target=self._worker, name=f"transfer-{i}", daemon=True) for i in range(self._workers)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_TICK_S)
                    if self._cancel.is_set():
                        self._leave(Cancelled("the transfer was cancelled"))
                    if on_progress is not None:
                        on_progress(self._meter.snapshot())
        except BaseException as error:  # an interrupt, or a defect of the caller's on_progress
            self._leave(error)
            for thread in threads:
                if thread.ident is not None:  # perhaps no more could be started
                    thread.join(_LEAVE_S)
        finally:
            self._close()
        if self._error is not None:
            raise self._error

    def _leave(self, error: BaseException) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            self._error = error
            self._stop.set()
            sessions = list(self._sessions)
        self._schedule.stop()
        for session in sessions:
            session.abort()

    def _close(self) -> None:
        for opened in self._open.values():
            opened.ingest.close()

    def _worker(self) -> None:
        sessions: list[Session] = []
        try:
            sessions.append(self._session())
            self._work(Tools(sessions, aligned_buffer(PIECE_BYTES), self._pool, self._link))
        except BaseException as error:
            self._leave(error)
        finally:
            for session in sessions:
                session.close()

    def _session(self) -> Session:
        """One that is aborted when all leave."""
        session = self._open_session()
        with self._lock:
            self._sessions.append(session)
        return session

    def _work(self, tools: Tools) -> None:
        mine: Share | None = None
        while (task := self._schedule.next(mine)) is not None:
            if isinstance(task, tuple):
                _, mine, run = task
                self._continue(mine, run, tools)
            elif isinstance(task, WantedFile):
                mine = self._begin(task, tools)
            elif isinstance(task, WantedBatch):
                self._batch(task, tools)
            else:
                task.run(tools)
                self._schedule.finished()

    def _begin(self, wanted: WantedFile, tools: Tools) -> Share | None:
        ingest = self._ingest(wanted)
        if ingest is None:
            self._meter.reused(wanted.size)
            self._meter.finished()
            self._schedule.finished()
            return None
        opened = OpenFile.resume(wanted, ingest, chunk_bytes=CHUNK_BYTES, tools=tools)
        with self._lock:
            share = self._schedule.opened(wanted, opened.missing)
            self._open[share] = opened
        # What an earlier run left is hashed now, by this worker, while others may already fetch what is missing.
        self._complete(share, opened.frontier.advance(tools.scratch))
        return share

    def _ingest(self, wanted: WantedFile) -> Ingest | None:
        """None when another transfer has brought the blob meanwhile: it is fetched once, however many want it.

        Waiting cannot become a circle: a worker stays with a file that it began as long as there is something left.
        """
        while True:
            try:
                return self._store.ingest(wanted.digest, size=wanted.size, chunk_bytes=CHUNK_BYTES)
            except Pulling:
                if self._stop.wait(_TICK_S):
                    raise Cancelled("the transfer was cancelled") from None
            if self._store.has_blob(wanted.digest, wanted.size):
                return None

    def _continue(self, share: Share, run: Run, tools: Tools) -> None:
        with self._lock:
            opened = self._open[share]
        try:
            done = opened.fetch(run, sequential=share.single, tools=tools)
        except RangesIgnored:
            self._schedule.gave_up_ranges(share, run)
            return
        self._schedule.left(share)
        self._complete(share, done)

    def _complete(self, share: Share, digest: Digest | None) -> None:
        if digest is None:
            return
        with self._lock:
            opened = self._open.pop(share)
        wanted = opened.wanted
        try:
            opened.ingest.commit(digest)
        except DigestMismatch:
            opened.forget(self._meter)
            if wanted.tries >= MAX_TRIES:
                raise
            self._schedule.finished(share, again=replace(wanted, tries=wanted.tries + 1))
            return
        except BaseException:
            with contextlib.suppress(Exception):
                opened.ingest.close()
            raise
        self._meter.finished()
        self._schedule.finished(share)

    def _batch(self, batch: WantedBatch, tools: Tools) -> None:
        items = fetch_batch(batch, tools, open_session=self._session, leave=self._leave)
        try:
            self._store.commit_small(items)
        except DigestMismatch:
            if batch.files[0].tries >= MAX_TRIES:
                raise
            self._meter.undo(sum(file.size for file in batch.files))
            again = tuple(replace(file, tries=file.tries + 1) for file in batch.files)
            self._schedule.finished(again=replace(batch, files=again))
            return
        self._meter.finished(len(batch.files))
        self._schedule.finished()
