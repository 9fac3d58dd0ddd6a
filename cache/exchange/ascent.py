"""Reading chunks from the cohort above, so that only the root of a tree of cohorts reads the origin.

The cohort above has as many members as it has, and so may have cut the tree into other chunks: each part of ours that
lies in one of theirs is asked for by itself. Failure model: as cache.exchange.above decides; a request that takes far
longer than most is given up, and the next rank is asked.
"""

from __future__ import annotations

import threading
import time

from api.errors import SourceUnavailable
from cache.exchange.above import Above
from cache.exchange.carrier import Carrier
from cache.exchange.coordinator import Job
from cache.exchange.group import Group
from cache.exchange.holding import chunk_map
from cache.exchange.peer import Busy, PeerSession, Refused
from cache.exchange.stripes import Stripes
from cache.http.ranges import RangesIgnored
from cache.transfer.reader import Link

AGAIN_S = 0.2
LATE_S = 15.0  # a member answers within five seconds that it is still fetching, and mostly sooner
LATE_FACTOR = 8.0  # as many stripes as a member of ours may be behind


class Ascent:
    """``brings`` is for the threads that fetch upstream, ``hurry`` and ``abort`` for any other.

    Members above are numbered on from those of the own cohort, of which there are ``len(group.members)``.
    """

    def __init__(self, group: Group, *, exchange: str, carrier: Carrier, link: Link) -> None:
        self._group = group
        self._exchange = exchange
        self._carrier = carrier
        self._link = link
        self._stop = link.cancel
        self._chunks = chunk_map(carrier.files.wanted, members=len(group.above))
        stripes = Stripes(seed=exchange, members=group.above, chunks=self._chunks.chunks)
        self._above = Above(stripes, began=time.monotonic())
        self._lock = threading.Lock()
        self._sessions: dict[tuple[int, int], PeerSession] = {}  # by the job's place and the member asked
        self._reading: dict[int, tuple[PeerSession, float]] = {}  # by the job's place, since when

    def brings(self, job: Job, scratch: memoryview) -> bool:
        """Fetch the job's chunk; False where nobody above does, and the origin is to be asked."""
        place = self._carrier.files.chunks.place(job.chunk)
        start = place.start
        while start < place.stop:
            chunk = self._chunks.at(place.file, start)
            stop = min(place.stop, self._chunks.place(chunk).stop)
            if not self._part(job, chunk, start, stop, scratch):
                self._link.meter.undo(start - place.start)
                if not self._carrier.coordinator.void(job):
                    return False
                self._carrier.coordinator.failed(job)
                return True
            start = stop
        self._carrier.arrived(job, link=self._link)
        return True

    def owner(self, file: int, offset: int) -> int:
        """The member above that owns the chunk with this byte."""
        return self._above.stripes.owner(self._chunks.at(file, offset))

    def set_aside(self, number: int) -> None:
        with self._lock:
            self._above.never(number - len(self._group.members))

    def hurry(self) -> None:
        """Break off what takes far longer than most."""
        late = time.monotonic() - max(LATE_S, LATE_FACTOR * self._carrier.coordinator.typical_s)
        with self._lock:
            for session, since in self._reading.values():
                if since < late:
                    session.abort()

    def abort(self) -> None:
        with self._lock:
            for session in self._sessions.values():
                session.abort()

    def close(self) -> None:
        """After the threads have left."""
        for session in self._sessions.values():
            session.close()

    def _part(self, job: Job, chunk: int, start: int, stop: int, scratch: memoryview) -> bool:
        refused: set[int] = set()
        began = time.monotonic()  # to ask the one that is asked
        while not (self._carrier.coordinator.void(job) or self._stop.is_set()):
            now = time.monotonic()
            with self._lock:
                member = self._above.next(chunk, refused=refused, now=now)
                patient = self._above.patient(now)
            if member is None:
                if not patient:
                    return False
                self._stop.wait(AGAIN_S)
                began = time.monotonic()
                continue
            try:
                whole = self._read(job, member, start, stop, scratch, since=began)
            except Refused:
                refused.add(member)
                self._answered(member)
            except Busy:
                self._answered(member)
                self._stop.wait(AGAIN_S)
                continue  # and it is still the same request that may take too long
            except (OSError, SourceUnavailable, RangesIgnored):
                self._failed(job.place, member, since=now)
            else:
                self._answered(member)
                return whole
            began = time.monotonic()
        return False

    def _read(self, job: Job, member: int, start: int, stop: int, scratch: memoryview, *, since: float) -> bool:
        with self._lock:
            session = self._session(job.place, member)
            self._reading[job.place] = session, since
        try:
            return self._carrier.part(
                job,
                session,
                scratch,
                start=start,
                stop=stop,
                link=self._link,
                source=len(self._group.members) + member,
            )
        finally:
            with self._lock:
                del self._reading[job.place]

    def _session(self, place: int, member: int) -> PeerSession:
        session = self._sessions.get((place, member))
        if session is None:
            contact = self._group.contacts.reach(self._group.above[member])
            session = PeerSession(
                contact, access=self._group.access, exchange=self._exchange, chunks=self._chunks.chunks
            )
            self._sessions[place, member] = session
            if self._stop.is_set():
                session.abort()
        return session

    def _answered(self, member: int) -> None:
        with self._lock:
            self._above.answered(member, now=time.monotonic())

    def _failed(self, place: int, member: int, *, since: float) -> None:
        with self._lock:
            self._above.failed(member, since=since, now=time.monotonic())
            session = self._sessions.pop((place, member), None)
        if session is not None:
            session.close()
