"""One exchange under way: joins the threads that move bytes, the server that peers ask, and the deciding code.

Any thread may call any method. Threads that fetch, one a place, wait in ``next``; whoever changes what is known makes
the decisions anew, under the one lock. Decisions take well under a millisecond, and nothing under the lock does I/O.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cache.exchange.answer import Answer
from cache.exchange.bits import bit
from cache.exchange.decide import decide
from cache.exchange.ledger import Ledger
from cache.exchange.stripes import Stripes
from cache.exchange.view import State

UPSTREAM = -1  # the first of the places that are no members; the others follow downwards
LOOK_S = 1.0  # how often to see what hangs, where nothing else happens

Waiter = Callable[[Answer], None]
HangUp = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Job:
    """A chunk to be fetched at a place."""

    place: int
    chunk: int


class Coordinator:
    def __init__(self, stripes: Stripes, *, me: int | None, have: int, upstream_slots: int = 1) -> None:
        self.stripes = stripes
        self.me = me
        self._ledger = Ledger(stripes, me, have=have)
        self._upstream = range(UPSTREAM, UPSTREAM - upstream_slots, -1)
        self._changed = threading.Condition()
        self._jobs: dict[int, Job] = {}  # by place: what it is to fetch, or is fetching
        self._void: set[Job] = set()  # of those, the ones that have become pointless
        self._hang_up: dict[Job, HangUp] = {}  # of those being done
        self._waiters: dict[int, list[Waiter]] = {}  # by chunk, the peers' requests that are held
        self._set_aside: set[int] = set()
        self._started = False
        self._stopped = False

    # -- for the threads that fetch

    def start(self) -> None:
        """From now on decide; before, only what is heard is noted."""
        with self._changed:
            self._started = True
            self._decide()

    def next(self, place: int) -> Job | None:
        """What this place is to fetch now; waits for it. None when there will be nothing more."""
        with self._changed:
            while not (self._stopped or self._ledger.complete):
                job = self._jobs.get(place)
                if job is not None and self._reachable(place):
                    return job
                # Who was woken must not decide: that wakes all others, and they would wake each other for ever.
                if not self._changed.wait(LOOK_S):
                    self._decide()  # what hangs shows only by time
            return None

    @contextlib.contextmanager
    def doing(self, job: Job, hang_up: HangUp) -> Iterator[None]:
        """Within, ``hang_up`` is called when the job becomes pointless. It MUST return at once."""
        with self._changed:
            self._hang_up[job] = hang_up
        try:
            yield
        finally:
            with self._changed:
                del self._hang_up[job]

    def void(self, job: Job) -> bool:
        """Has the job become pointless while it was being done?"""
        with self._changed:
            return self._stopped or job in self._void or bool(self._ledger.have >> job.chunk & 1)

    def arrived(self, job: Job) -> None:
        """All bytes of the job's chunk are written."""
        with self._changed:
            if self._jobs.get(job.place) == job:
                member = None if job.place in self._upstream else job.place
                self._ledger.arrived(job.chunk, member=member, now=time.monotonic())
            else:
                self._ledger.found(job.chunk)
            self._ended(job)
            self._answer(job.chunk, Answer.SEND)
            self._decide()

    def failed(self, job: Job) -> None:
        """The job ended without its chunk."""
        with self._changed:
            if self._jobs.get(job.place) == job:
                if job.place in self._upstream:
                    self._ledger.upstream_failed(job.chunk)
                else:
                    self._ledger.failed(job.place)
            self._ended(job)
            self._decide()

    def cut_off(self) -> bool:
        """Upstream cannot be reached from here: from now on all comes from peers. False where none can bring it."""
        with self._changed:
            hopeful = self._ledger.cut_off()
            for chunk in list(self._waiters):
                self._answer(chunk, Answer.REFUSE)
            self._decide()
            return hopeful

    def claims(self, member: int, chunk: int) -> bool:
        """Does the member live, and say that it has the chunk?"""
        with self._changed:
            return self._ledger.claims(member, chunk)

    @property
    def typical_s(self) -> float:
        with self._changed:
            return self._ledger.typical_s

    def alive(self, member: int) -> bool:
        with self._changed:
            return self._ledger.alive(member)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            for chunk in list(self._waiters):
                self._answer(chunk, Answer.REFUSE)
            self._changed.notify_all()

    # -- for those who watch the peers

    def heard(self, member: int, state: State) -> None:
        with self._changed:
            if member not in self._set_aside:
                if not self._ledger.started(member):
                    self._changed.notify_all()  # its place may begin
                self._ledger.heard(member, state)
                self._decide()

    def died(self, member: int) -> None:
        with self._changed:
            self._died(member)
            self._decide()

    def set_aside(self, member: int) -> None:
        """Never again take anything from a member that served wrong bytes."""
        with self._changed:
            self._set_aside.add(member)
            self._died(member)
            self._decide()

    # -- for the server

    @property
    def state(self) -> State:
        with self._changed:
            return self._ledger.state

    def ask(self, chunk: int, waiter: Waiter) -> Answer:
        """A peer asks. For HOLD and ADOPT ``waiter`` is called later, in any thread, with SEND or REFUSE."""
        with self._changed:
            found = self._ledger.asked(chunk, time.monotonic())
            if self._stopped and found is not Answer.SEND:
                return Answer.REFUSE
            if found in (Answer.HOLD, Answer.ADOPT):
                self._waiters.setdefault(chunk, []).append(waiter)
                self._decide()
            return found

    def sending(self, chunk: int) -> None:
        with self._changed:
            self._ledger.sending(chunk)

    def sent(self, chunk: int, *, whole: bool) -> None:
        with self._changed:
            self._ledger.ended(chunk, whole=whole)
            self._decide()

    # -- under the lock

    def _reachable(self, place: int) -> bool:
        """A member that has not started would hold the request; it is held here instead."""
        return place in self._upstream or self._ledger.started(place)

    def _died(self, member: int) -> None:
        self._ledger.died(member)
        job = self._jobs.pop(member, None)
        if job is not None:
            self._make_void(job)

    def _make_void(self, job: Job) -> None:
        if job not in self._void:
            self._void.add(job)
            if hang_up := self._hang_up.get(job):
                hang_up()

    def _ended(self, job: Job) -> None:
        self._void.discard(job)
        if self._jobs.get(job.place) == job:
            del self._jobs[job.place]

    def _answer(self, chunk: int, how: Answer) -> None:
        for waiter in self._waiters.pop(chunk, []):
            waiter(how)

    def _decide(self) -> None:
        if not self._started:
            return
        now = time.monotonic()
        decision = decide(self._ledger.view(now), upstream_slots=len(self._upstream))
        self._ledger.apply(decision, now)
        for member in decision.cancel:
            # The thread finds out; until then its place stays taken.
            job = self._jobs.get(member)
            if job is not None:
                self._make_void(job)
        if decision.upstream is not None:
            place = next(place for place in self._upstream if place not in self._jobs)
            self._jobs[place] = Job(place, decision.upstream)
        for member, chunk in decision.peers:
            self._jobs[member] = Job(member, chunk)
        for chunk in list(self._waiters):
            if decision.release & bit(chunk):
                self._answer(chunk, Answer.REFUSE)
        if decision.upstream is not None or decision.peers or self._ledger.complete:
            self._changed.notify_all()
        if decision.upstream is not None and any(place not in self._jobs for place in self._upstream):
            self._decide()
