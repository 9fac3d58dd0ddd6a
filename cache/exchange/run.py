"""The threads of one exchange: one a place to fetch from, one a peer to watch, and the hashers.

Failure model: a peer's failure costs a request, and its place is asked no more until the peer answers again. Upstream
is retried as any source; when that does not help, or the disk fails, the exchange ends with that error, what was
written stays for a resume, and peers that wait here are sent elsewhere.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence

import structlog

from api.digest import Digest
from api.errors import Cancelled, Forbidden, NotFound, SourceUnavailable, Unauthorized, WarmsetError
from cache.aligned import aligned_buffer
from cache.exchange.ascent import Ascent
from cache.exchange.carrier import Carrier
from cache.exchange.coordinator import UPSTREAM, Coordinator, Job
from cache.exchange.files import PIECE_BYTES, Files, Ingests
from cache.exchange.group import DOES_NOT_SEND, WRONG_BYTES, Exchanges, ReadsBytes, Running
from cache.exchange.holding import chunk_map
from cache.exchange.peer import Busy, PeerSession, PeerWatch, Refused
from cache.exchange.stripes import Stripes
from cache.http.ranges import RangesIgnored
from cache.http.retry import RetryPolicy
from cache.transfer.file import WantedFile
from cache.transfer.progress import Meter, Progress
from cache.transfer.reader import BlobReader, Link, Session
from cache.transfer.throttle import Rate, Throttle

WATCH_S = 0.2  # how often a peer is asked for its state, where chunks come fast
WATCH_AT_MOST_S = 1.0  # and where they do not: that it hangs must show within seconds
FIRST_S = 1.0  # how long to wait for a peer's first state; one that is not there is told at once
MAX_STRIKES = 50  # before a peer that answers, and does not send what it says it has, is set aside
FAILURE_STRIKE = 10
BUSY_STRIKE = 1  # it may well be, for ten seconds
UPSTREAM_POLICY = RetryPolicy()
# What may be so for this node alone: others may still be let in, and pass it on.
UNREACHABLE = (SourceUnavailable, NotFound, Unauthorized, Forbidden)
DESERTED_S = 10.0  # members that begin at the same time as one who joins them are there by then
HASHERS = 2
SLOTS_BELOW = 2  # requests that a member has under way to the cohort above, which holds them: one would leave gaps
_TICK_S = 0.1
_LEAVE_S = 10.0

log = structlog.get_logger()


class Deserted(Exception):
    """This node came later, owns nothing, and there is nobody (any more) to read from."""


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
    limit: Rate | None,
    meter: Meter,
    cancel: threading.Event,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Bring all of ``wanted`` into the store together with the group. All are committed on return.

    ``wanted`` MUST be the same list on every member, ``present`` are those that this one has; ``manifest`` as of a
    Holding. Raises the first error of a thread, Cancelled, RangesIgnored where the source serves no ranges, or
    Deserted. On success peers go on reading what came, until ``exchanges`` is told that the whole tree is held, or that
    it is not.
    """
    size = chunk_map(wanted, members=len(exchanges.group.members)).chunk_bytes
    files = Files.open(wanted, present=present, store=store, chunk_bytes=size)
    run = _Run(files, exchange_id, exchanges, open_session, limit, meter)
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
        limit: Rate | None,
        meter: Meter,
    ) -> None:
        group = exchanges.group
        self._exchanges = exchanges
        self._files = files
        self._id = exchange_id
        self._group = group
        self._members = group.members
        self._names = (*group.members, *group.above)  # whoever bytes may come from, numbered through
        self._me = None if group.me is None else group.members.index(group.me)
        self._open_session = open_session
        self._meter = meter
        self._stop = threading.Event()
        throttle = Throttle(limit, cancel=self._stop)
        self._upstream = Link(UPSTREAM_POLICY, self._stop, throttle, meter)
        self._peers = Link(RetryPolicy(attempts=1), self._stop, throttle, meter, from_peer=True)
        stripes = Stripes(seed=exchange_id, members=group.members, chunks=files.chunks.chunks)
        self._slots = SLOTS_BELOW if group.above else 1
        self.coordinator = Coordinator(stripes, me=self._me, have=files.have, upstream_slots=self._slots)
        self._carrier = Carrier(files, self.coordinator)
        self._ascent: Ascent | None = None
        if group.above:
            self._ascent = Ascent(group, exchange=exchange_id, carrier=self._carrier, link=self._peers)
        self._wrong: dict[int, set[int]] = {}  # by member of ours, whose chunks they were above
        self._abort: list[Callable[[], None]] = []  # wakes threads out of what they wait for
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._first = threading.Semaphore(0)  # released once for each peer that was asked for its state
        self._cut_off = False
        self._last_company = time.monotonic()  # when a member last told that it takes part
        meter.reused(files.resumed_bytes)

    def run(self, cancel: threading.Event, on_progress: Callable[[Progress], None] | None) -> None:
        others = [member for member in range(len(self._members)) if member != self._me]
        bodies: list[Callable[[], None]] = [self._hash] * HASHERS
        bodies += [self._bound(self._fetch_upstream, UPSTREAM - slot) for slot in range(self._slots)]
        for member in others:
            bodies += [self._bound(self._fetch_from, member), self._bound(self._watch, member)]
        threads = [threading.Thread(target=self._guarded, args=(body,), daemon=True) for body in bodies]
        for thread in threads:
            thread.start()
        try:
            # Who starts last must not fetch what all others have: hear them first.
            for _ in others:
                self._first.acquire(timeout=FIRST_S)
            for source in self.blamed():
                self._avoid(source)
            self.coordinator.start()
            while not (self._files.complete or self._stop.is_set()):
                self._stop.wait(_TICK_S)
                if cancel.is_set():
                    self._leave(Cancelled("the transfer was cancelled"))
                if self._ascent is not None:
                    self._ascent.hurry()
                if self._me is None and time.monotonic() - self._last_company > DESERTED_S:
                    self._leave(Deserted())
                if on_progress is not None:
                    on_progress(self._meter.snapshot())
        finally:
            self._leave(None)
            for thread in threads:
                thread.join(_LEAVE_S)
            if self._ascent is not None:
                self._ascent.close()
        if self._error is not None:
            raise self._error

    @staticmethod
    def _bound(body: Callable[[int], None], place: int) -> Callable[[], None]:
        return lambda: body(place)

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
        if self._ascent is not None:
            self._ascent.abort()
        for abort in aborts:
            abort()

    @contextlib.contextmanager
    def _abortable(self, abort: Callable[[], None]) -> Iterator[None]:
        with self._lock:
            self._abort.append(abort)
            stopped = self._stop.is_set()
        if stopped:
            abort()
        try:
            yield
        finally:
            with self._lock:
                self._abort.remove(abort)

    # -- threads

    def _fetch_upstream(self, place: int) -> None:
        scratch = aligned_buffer(PIECE_BYTES)
        while (job := self._next_of_origin(place, scratch)) is not None:
            session = self._open_session()
            with contextlib.closing(session), self._abortable(session.abort):
                try:
                    while job is not None:
                        self._carrier.fetch(job, session, scratch, link=self._upstream, source=None)
                        job = self._next_of_origin(place, scratch)
                except UNREACHABLE as error:
                    self._lose_upstream(error)

    def _next_of_origin(self, place: int, scratch: memoryview) -> Job | None:
        """The next chunk to be read from the origin, once the cohort above brings no more."""
        while (job := self.coordinator.next(place)) is not None:
            if self._ascent is None or not self._ascent.brings(job, scratch):
                return job
        return None

    def _lose_upstream(self, error: WarmsetError) -> None:
        """Peers may still bring all of it. Raises ``error`` where they cannot."""
        if not self.coordinator.cut_off():
            raise error
        if not self._cut_off:
            log.warning("exchange.cut_off", why=str(error))
        self._cut_off = True

    def _peer(self, member: int) -> PeerSession:
        contact = self._group.contacts.reach(self._members[member])
        return PeerSession(contact, access=self._group.access, exchange=self._id, chunks=self._files.chunks.chunks)

    def _fetch_from(self, member: int) -> None:
        scratch = aligned_buffer(PIECE_BYTES)
        strikes = 0  # in a row: what it says that it has keeps everybody from fetching it elsewhere
        while (job := self.coordinator.next(member)) is not None:
            session = self._peer(member)
            with contextlib.closing(session), self._abortable(session.abort):
                asked = job
                try:
                    while job is not None:
                        asked = job
                        try:
                            if not self._carrier.fetch(job, session, scratch, link=self._peers, source=member):
                                break
                        except Refused as refusal:
                            if not refusal.state.released >> job.chunk & 1:
                                raise
                            self.coordinator.heard(member, refusal.state)
                        strikes = 0
                        job = self.coordinator.next(member)
                    continue
                except Refused as refusal:
                    self.coordinator.heard(member, refusal.state)
                    strikes += BUSY_STRIKE if self.coordinator.claims(member, asked.chunk) else 0
                    problem: Exception = refusal
                except Busy as busy:
                    strikes += BUSY_STRIKE if self.coordinator.claims(member, asked.chunk) else 0
                    problem = busy
                except (OSError, SourceUnavailable, RangesIgnored) as error:
                    problem = error
                    cause = error.__cause__ or error
                    if isinstance(cause, ConnectionError):
                        self.coordinator.died(member)  # if it lives, whoever watches it will say so
                    strikes += MAX_STRIKES if isinstance(cause, TimeoutError) else FAILURE_STRIKE
            if strikes >= MAX_STRIKES and self.coordinator.alive(member):
                self._set_aside(member, reason=DOES_NOT_SEND, message=f"it does not send what it has: {problem}")
            self._stop.wait(WATCH_S)

    def _watch(self, member: int) -> None:
        watch = PeerWatch(self._group, self._members[member], exchange=self._id, chunks=self._files.chunks.chunks)
        known = asked = False
        with contextlib.closing(watch), self._abortable(watch.abort):
            while not self._stop.is_set():
                try:
                    state = watch.state()
                except (OSError, SourceUnavailable):
                    if known:
                        self.coordinator.died(member)
                else:
                    if state is not None:
                        known = True
                        self._last_company = time.monotonic()
                        self.coordinator.heard(member, state)
                    elif known:
                        self.coordinator.died(member)  # it gave the pull up
                if not asked:
                    asked = True
                    self._first.release()
                # Half a stripe old is as good as new for every rule; N² states a second are not for nothing.
                self._stop.wait(min(max(WATCH_S, self.coordinator.typical_s / 2), WATCH_AT_MOST_S))

    def _hash(self) -> None:
        self._files.hash_all(fetches=self, finished=self._meter.finished)

    # -- wrong bytes, as repair.Fetches

    def refetch(self, chunk: int, into: memoryview, *, avoid: Collection[int]) -> None:
        if not self._cut_off:
            try:
                return self._read_again(self._open_session(), chunk, into, link=self._upstream)
            except UNREACHABLE as error:
                self._lose_upstream(error)
        for member in range(len(self._members)):
            if member not in avoid and self.coordinator.claims(member, chunk):
                with contextlib.suppress(OSError, SourceUnavailable, RangesIgnored, Refused, Busy):
                    return self._read_again(self._peer(member), chunk, into, link=self._peers)
        raise SourceUnavailable("a chunk that came with wrong bytes can be had nowhere else now")

    def blame(self, chunk: int, members: Collection[int]) -> None:
        if len(members) > 1:
            return  # who knows which one it was
        (member,) = members
        if member < len(self._members) and self._in_good_faith(chunk, member):
            return
        self._set_aside(member, reason=WRONG_BYTES, message="it served wrong bytes")

    def _in_good_faith(self, chunk: int, member: int) -> bool:
        """May it have passed on what it had from somebody else?"""
        owner = self.coordinator.stripes.owner(chunk)
        if member != owner and owner in self.blamed():
            return True
        if self._ascent is None:
            return False
        # One liar above spoils the chunks that it owns there. Whoever has spoilt others' too does it himself.
        place = self._files.chunks.place(chunk)
        spoilt = self._wrong.setdefault(member, set())
        spoilt.add(self._ascent.owner(place.file, place.start))
        return len(spoilt) < 2

    def blamed(self) -> frozenset[int]:
        peers = map(self._group.contacts.known_as, self._names)
        return frozenset(n for n, peer in enumerate(peers) if self._exchanges.serves_wrong_bytes(peer))

    def _read_again(self, session: Session | PeerSession, chunk: int, into: memoryview, *, link: Link) -> None:
        place = self._files.chunks.place(chunk)
        wanted = self._files.wanted[place.file]
        with contextlib.closing(session), self._abortable(session.abort):
            reader = BlobReader(session, wanted.digest, size=wanted.size, start=place.start, stop=place.stop, link=link)
            with contextlib.closing(reader):
                self._meter.undo(reader.fill(into))

    def _set_aside(self, member: int, *, reason: str, message: str) -> None:
        if not self._stop.is_set():
            peer = self._group.contacts.known_as(self._names[member])
            log.warning("exchange.peer_set_aside", peer=peer, reason=reason, why=message)
            self._exchanges.set_aside(peer, reason=reason, message=message)
            self._avoid(member)

    def _avoid(self, source: int) -> None:
        if source < len(self._members):
            self.coordinator.set_aside(source)
        elif self._ascent is not None:
            self._ascent.set_aside(source)
