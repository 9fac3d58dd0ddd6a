"""The threads of one exchange: one a place to fetch from, one a peer to watch, and the hashers.

Failure model: a peer's failure costs a request, and its place is asked no more until the peer answers again. Upstream
is retried as any source; when that does not help, or the disk fails, the exchange ends with that error, what was
written stays for a resume, and peers that wait here are sent elsewhere.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

import structlog

from api.digest import Digest
from api.errors import Cancelled, SourceUnavailable
from cache.exchange.chunks import Place
from cache.exchange.coordinator import UPSTREAM, Coordinator, Job
from cache.exchange.files import PIECE_BYTES, Files, Ingests
from cache.exchange.group import Exchanges, ReadsBytes, Running
from cache.exchange.holding import chunk_map
from cache.exchange.peer import Busy, PeerSession, PeerWatch, Refused
from cache.exchange.stripes import Stripes
from cache.http.ranges import RangesIgnored
from cache.http.retry import RetryPolicy
from cache.transfer.buffers import aligned_buffer
from cache.transfer.file import WantedFile
from cache.transfer.progress import Meter, Progress
from cache.transfer.reader import BlobReader, Link, Session
from cache.transfer.throttle import Throttle

WATCH_S = 0.2  # how often a peer is asked for its state
FIRST_S = 1.0  # how long to wait for a peer's first state; one that is not there is told at once
MAX_FAILURES = 5  # requests in a row that a peer that answers lets fail before it is set aside
HASHERS = 2
_TICK_S = 0.1
_LEAVE_S = 10.0

log = structlog.get_logger()


def exchange(
    wanted: Sequence[WantedFile],
    *,
    present: frozenset[Digest],
    exchange_id: str,
    exchanges: Exchanges,
    manifest: bytes,
    store: Ingests,
    bytes_of: ReadsBytes,
    open_session: Callable[[], Session],
    limit_bps: int | None,
    meter: Meter,
    cancel: threading.Event,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Bring all of ``wanted`` into the store together with the group. All are committed on return.

    ``wanted`` MUST be the same list on every member, ``present`` are those that this one has; ``manifest`` as of a
    Holding. Raises the first error of
    a thread, Cancelled, or RangesIgnored where the source serves no ranges. On success peers go on reading what came,
    until ``exchanges`` is told that the whole tree is held, or that it is not.
    """
    size = chunk_map(wanted, members=len(exchanges.group.members)).chunk_bytes
    files = Files.open(wanted, present=present, store=store, chunk_bytes=size)
    run = _Run(files, exchange_id, exchanges, open_session, limit_bps, meter)
    running = Running(run.coordinator, files.chunks, tuple(file.digest for file in wanted), bytes_of, manifest)
    exchanges.begin(exchange_id, running)
    try:
        run.run(cancel, on_progress)
    except BaseException:
        exchanges.end(exchange_id)
        raise
    finally:
        files.close()


class _Run:
    def __init__(
        self,
        files: Files,
        exchange_id: str,
        exchanges: Exchanges,
        open_session: Callable[[], Session],
        limit_bps: int | None,
        meter: Meter,
    ) -> None:
        group = exchanges.group
        self._files = files
        self._id = exchange_id
        self._group = group
        self._members = group.members
        self._me = None if group.me is None else group.members.index(group.me)
        self._open_session = open_session
        self._meter = meter
        self._stop = threading.Event()
        throttle = Throttle(limit_bps, cancel=self._stop)
        self._upstream = Link(RetryPolicy(), self._stop, throttle, meter)
        self._peers = Link(RetryPolicy(attempts=1), self._stop, throttle, meter, from_peer=True)
        stripes = Stripes(seed=exchange_id, members=group.members, chunks=files.chunks.chunks)
        self.coordinator = Coordinator(stripes, me=self._me, have=files.have)
        self._abort: list[Callable[[], None]] = []  # wakes threads out of what they wait for
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._first = threading.Semaphore(0)  # released once for each peer that was asked for its state
        meter.reused(files.resumed_bytes)

    def run(self, cancel: threading.Event, on_progress: Callable[[Progress], None] | None) -> None:
        others = [member for member in range(len(self._members)) if member != self._me]
        bodies: list[Callable[[], None]] = [self._fetch_upstream, *[self._hash] * HASHERS]
        for member in others:
            bodies += [self._bound(self._fetch_from, member), self._bound(self._watch, member)]
        threads = [threading.Thread(target=self._guarded, args=(body,), daemon=True) for body in bodies]
        for thread in threads:
            thread.start()
        try:
            # Who starts last must not fetch what all others have: hear them first.
            for _ in others:
                self._first.acquire(timeout=FIRST_S)
            self.coordinator.start()
            while not (self._files.complete or self._stop.is_set()):
                self._stop.wait(_TICK_S)
                if cancel.is_set():
                    self._leave(Cancelled("the transfer was cancelled"))
                if on_progress is not None:
                    on_progress(self._meter.snapshot())
        finally:
            self._leave(None)
            for thread in threads:
                thread.join(_LEAVE_S)
        if self._error is not None:
            raise self._error

    @staticmethod
    def _bound(body: Callable[[int], None], member: int) -> Callable[[], None]:
        return lambda: body(member)

    def _guarded(self, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            self._error = error
            self._stop.set()
            aborts = list(self._abort)
        self.coordinator.stop()
        self._files.end()
        for abort in aborts:
            abort()

    def _abortable(self, abort: Callable[[], None]) -> None:
        with self._lock:
            self._abort.append(abort)
            stopped = self._stop.is_set()
        if stopped:
            abort()

    # -- threads

    def _fetch_upstream(self) -> None:
        session = self._open_session()
        self._abortable(session.abort)
        scratch = aligned_buffer(PIECE_BYTES)
        try:
            while (job := self.coordinator.next(UPSTREAM)) is not None:
                self._fetch(job, session, scratch, link=self._upstream)
        finally:
            session.close()

    def _fetch_from(self, member: int) -> None:
        scratch = aligned_buffer(PIECE_BYTES)
        failures = 0  # in a row
        while (job := self.coordinator.next(member)) is not None:
            contact = self._group.contacts.reach(self._members[member])
            session = PeerSession(
                contact, access=self._group.access, exchange=self._id, chunks=self._files.chunks.chunks
            )
            self._abortable(session.abort)
            try:
                while job is not None:
                    self._fetch(job, session, scratch, link=self._peers)
                    failures = 0
                    job = self.coordinator.next(member)
            except Refused as refusal:
                self.coordinator.heard(member, refusal.state)
            except Busy:
                self._stop.wait(WATCH_S)
            except (OSError, SourceUnavailable, RangesIgnored) as error:
                failures += 1
                cause = error.__cause__ or error
                if isinstance(cause, TimeoutError) or failures >= MAX_FAILURES:
                    # What it says that it has would keep everybody from fetching it elsewhere.
                    self._set_aside(member, reason=f"it does not send what it says it has: {error}")
                elif isinstance(cause, ConnectionError):
                    self.coordinator.died(member)  # if it lives, whoever watches it will say so
                self._stop.wait(WATCH_S)
            finally:
                session.close()

    def _fetch(self, job: Job, session: Session | PeerSession, scratch: memoryview, *, link: Link) -> None:
        place = self._files.chunks.place(job.chunk)
        wanted = self._files.wanted[place.file]
        member = None if job.place == UPSTREAM else job.place
        reader = BlobReader(session, wanted.digest, size=wanted.size, start=place.start, stop=place.stop, link=link)
        done = 0
        try:
            while place.start + done < place.stop and not self.coordinator.void(job):
                filled = reader.fill(scratch)
                self._files.write(job.chunk, place.start + done, scratch[:filled], member=member)
                done += filled
        except BaseException:
            self._meter.undo(reader.received)
            self.coordinator.failed(job)
            raise
        finally:
            reader.close()
        if place.start + done < place.stop:
            self._meter.undo(done)
            self.coordinator.failed(job)
            return
        first = self._files.settle(job.chunk)
        self.coordinator.arrived(job)
        if first:
            self._files.arrived(job.chunk)
        else:
            self._meter.undo(done)

    def _watch(self, member: int) -> None:
        watch = PeerWatch(self._group, self._members[member], exchange=self._id, chunks=self._files.chunks.chunks)
        self._abortable(watch.abort)
        known = asked = False
        try:
            while not self._stop.is_set():
                try:
                    state = watch.state()
                except (OSError, SourceUnavailable):
                    if known:
                        self.coordinator.died(member)
                else:
                    if state is not None:
                        known = True
                        self.coordinator.heard(member, state)
                    elif known:
                        self.coordinator.died(member)  # it gave the pull up
                if not asked:
                    asked = True
                    self._first.release()
                self._stop.wait(WATCH_S)
        finally:
            watch.close()

    def _hash(self) -> None:
        self._files.hash_all(refetch=self._refetch, set_aside=self._set_aside_for_bytes, finished=self._meter.finished)

    # -- wrong bytes

    def _refetch(self, wanted: WantedFile, place: Place, into: memoryview) -> None:
        session = self._open_session()
        self._abortable(session.abort)
        with contextlib.closing(session):
            reader = BlobReader(
                session, wanted.digest, size=wanted.size, start=place.start, stop=place.stop, link=self._upstream
            )
            with contextlib.closing(reader):
                self._meter.undo(reader.fill(into))

    def _set_aside_for_bytes(self, member: int) -> None:
        self._set_aside(member, reason="it served wrong bytes")

    def _set_aside(self, member: int, *, reason: str) -> None:
        if not self._stop.is_set():
            log.warning("exchange.peer_set_aside", peer=self._members[member], why=reason)
            self.coordinator.set_aside(member)
