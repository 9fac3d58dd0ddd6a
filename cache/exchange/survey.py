"""Where a cohort is on the whole, read from what its members tell: the yardstick for who is late."""

from __future__ import annotations

from dataclasses import dataclass

from cache.exchange.bits import NOTHING, lowest
from cache.exchange.stripes import Stripes
from cache.exchange.view import State, View

# Distances are in stripes, the unit of a cohort's progress: no rule needs to know how fast a network is.
WEAK = 2  # who has sent this many times less than most is slow at it, and not just busy
AT_THE_END = 4  # how far beyond the last stripe a member counts that has done all its part


@dataclass(frozen=True, slots=True)
class Survey:
    """``states`` are those of the members that live and have started, the own one included.

    ``front`` is the stripe that they fetch, ``carried`` the one that they have got out to others, both as medians: one
    slow member does not move them, and over the dead or those who have not started they would stand still.
    """

    stripes: Stripes
    states: dict[int, State]
    once: int  # what at least one has
    twice: int  # what at least two have
    willing: int  # what at least one has who is neither weak nor has resigned
    front: int
    carried: int
    weak: frozenset[int]  # members that send much less than most

    @classmethod
    def of(cls, view: View) -> Survey:
        states = {}
        for member in range(len(view.states)):
            state = view.state(member)
            if state is not None and view.alive(member):
                states[member] = state
        once = twice = willing = NOTHING
        haves = [state.have for state in states.values()]
        if view.me is None:
            haves.append(view.have)
        for have in haves:
            twice |= once & have
            once |= have
        stripes = view.stripes
        fetched, carried = [], []
        for member, state in states.items():
            if state.resigned or not stripes.owned[member]:
                continue  # it has nothing to be late with; without chunks, as where they are fewer than members
            owned = stripes.owned[member] & ~state.released
            fetched.append(_place(stripes, owned & ~state.have))
            carried.append(_place(stripes, owned & ~(twice | once & ~state.have)))
        most = _median([state.sends for state in states.values()])
        weak = frozenset(m for m, state in states.items() if most >= len(states) and state.sends * WEAK < most)
        for member, state in states.items():
            willing |= NOTHING if state.resigned or member in weak else state.have
        return cls(stripes, states, once, twice, willing, _median(fetched), _median(carried), weak)

    def beyond(self, member: int) -> int:
        """What somebody other than ``member`` has."""
        state = self.states.get(member)
        return self.twice | self.once & ~state.have if state is not None else self.once

    def fetched(self, distance: int) -> int:
        """The chunks of the stripes that lie ``distance`` or more behind the front."""
        return self.stripes.before(self.front - distance + 1)

    def sent(self, distance: int) -> int:
        """The chunks of the stripes that lie ``distance`` or more behind what most have got out."""
        return self.stripes.before(self.carried - distance + 1)

    @property
    def ending(self) -> bool:
        """Most have done all their part."""
        return self.front >= self.stripes.stripes


def _place(stripes: Stripes, todo: int) -> int:
    return stripes.stripe(lowest(todo)) if todo else stripes.stripes + AT_THE_END


def _median(places: list[int]) -> int:
    return sorted(places)[len(places) // 2] if places else 0
