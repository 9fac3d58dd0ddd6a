"""The books of one member: what it has, asked for, was told and sends. Makes the views that decisions are made from.

No clock and no I/O: times are passed in, in seconds of any steady clock. Owned by one thread.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from dataclasses import dataclass, field

from cache.exchange.answer import Answer, answer
from cache.exchange.bits import NOTHING, bit, union
from cache.exchange.decide import Decision
from cache.exchange.stripes import Stripes
from cache.exchange.view import State, View

STUCK_FACTOR = 4.0  # a request that takes so many times as long as most is looked after
_REMEMBERED = 33  # durations that "most" is judged by; odd, so that the median is one of them


@dataclass(slots=True)
class Ledger:
    """``me`` is an index into the stripes' members, or None for a joiner."""

    stripes: Stripes
    me: int | None
    have: int = NOTHING
    dead: int = NOTHING
    released: int = NOTHING
    resigned: bool = False
    is_cut_off: bool = False
    adopted: int = NOTHING
    sent: int = NOTHING
    sends: int = 0
    _states: list[State | None] = field(init=False)
    _from_peers: list[int | None] = field(init=False)
    _asked_at: dict[int, float] = field(init=False, default_factory=dict)  # by member
    _upstream: dict[int, float] = field(init=False, default_factory=dict)  # by chunk, when it was asked for
    _sending: Counter[int] = field(init=False, default_factory=Counter)
    _durations: deque[float] = field(init=False, default_factory=lambda: deque(maxlen=_REMEMBERED))

    def __post_init__(self) -> None:
        self._states = [None] * len(self.stripes.members)
        self._from_peers = [None] * len(self.stripes.members)

    def __repr__(self) -> str:
        return f"Ledger(member {self.me}, {self.have.bit_count()} of {self.stripes.chunks} chunks)"

    @property
    def state(self) -> State:
        """What to tell the others."""
        return State(self.have, self.released, self.resigned, self.sends)

    @property
    def complete(self) -> bool:
        return self.have == self.stripes.all

    def view(self, now: float) -> View:
        return View(
            stripes=self.stripes,
            me=self.me,
            own=self.state,
            adopted=self.adopted,
            states=tuple(self._states),
            dead=self.dead,
            from_upstream=union(self._upstream),
            from_peers=tuple(self._from_peers),
            stuck=self._stuck(now),
            sending=union(self._sending),
            sent=self.sent,
            cut_off=self.is_cut_off,
        )

    def apply(self, decision: Decision, now: float) -> None:
        """Take note of the requests that are now made; ``cancelled`` is told for each of ``decision.cancel``."""
        self.released |= decision.release
        self.resigned |= decision.resign
        if decision.upstream is not None:
            self._upstream[decision.upstream] = now
        for member, chunk in decision.peers:
            self._from_peers[member] = chunk
            self._asked_at[member] = now

    def alive(self, member: int) -> bool:
        return not self.dead >> member & 1

    def claims(self, member: int, chunk: int) -> bool:
        """Does the member live, and say that it has the chunk?"""
        state = self._states[member]
        return state is not None and self.alive(member) and bool(state.have >> chunk & 1)

    def started(self, member: int) -> bool:
        return self._states[member] is not None

    def heard(self, member: int, state: State) -> None:
        """A state, which also shows that the member lives. What it was known to have it still has."""
        self._states[member] = state
        self.dead &= ~bit(member)

    def died(self, member: int) -> None:
        """A connection was reset or its liveness failed: requests to it are void, and nobody waits for it."""
        self.dead |= bit(member)
        self.failed(member)

    def failed(self, member: int) -> None:
        """The request to a member ended without its chunk: it refused, or we hung up."""
        self._from_peers[member] = None
        self._asked_at.pop(member, None)

    def upstream_failed(self, chunk: int) -> None:
        self._upstream.pop(chunk, None)

    def cut_off(self) -> bool:
        """Nothing comes from upstream here any more: leave all to others. False where no other is left for it."""
        self.resigned = self.is_cut_off = True
        self.adopted = NOTHING
        living = [s for m, s in enumerate(self._states) if s is not None and not self.dead >> m & 1]
        held = NOTHING
        for state in living:
            held |= state.have
        return any(not state.resigned for state in living) or not self.stripes.all & ~self.have & ~held

    def found(self, chunk: int) -> None:
        """A chunk is here from a request that was given up meanwhile."""
        self.have |= bit(chunk)

    def arrived(self, chunk: int, *, member: int | None, now: float) -> None:
        """A chunk is here, from a member or, with None, from upstream."""
        self.have |= bit(chunk)
        if member is None:
            self._durations.append(now - self._upstream.pop(chunk))
        else:
            self._durations.append(now - self._asked_at[member])
            self.failed(member)

    def asked(self, chunk: int, now: float) -> Answer:
        """Somebody asks us for a chunk."""
        found = answer(self.view(now), chunk)
        if found is Answer.ADOPT:
            self.adopted |= bit(chunk)
        return found

    def sending(self, chunk: int) -> None:
        self._sending[chunk] += 1

    def ended(self, chunk: int, *, whole: bool) -> None:
        """A sending ended, all of it done or not."""
        self._sending[chunk] -= 1
        if not self._sending[chunk]:
            del self._sending[chunk]
        if whole:
            self.sent |= bit(chunk)
            self.sends += 1

    @property
    def typical_s(self) -> float:
        """How long most requests take, which is about as long as the cohort takes for a stripe; 0 before the first."""
        return statistics.median(self._durations) if self._durations else 0.0

    def _stuck(self, now: float) -> int:
        if not self._durations:
            return NOTHING
        before = now - STUCK_FACTOR * self.typical_s
        latest = dict(self._upstream)
        for member, chunk in enumerate(self._from_peers):
            if chunk is not None:
                latest[chunk] = max(self._asked_at[member], latest.get(chunk, 0.0))
        return union(chunk for chunk, at in latest.items() if at < before)
