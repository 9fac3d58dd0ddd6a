"""Whom a member asks for a chunk in the cohort above: its owner there, then the next ranks, then the origin (rule R6).

A held request waits for what the one asked fetches, and that one's own requests go further up; since no cohort is ever
read by one that it reads from itself, no circle of waiting can come about. Who does not bring a chunk is passed over,
and nobody above need be alive: then the origin is read, and those above are tried again now and then.

No clock and no I/O: times are passed in, in seconds of any steady clock. Owned by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from cache.exchange.stripes import Stripes

PATIENCE_S = 10.0  # a cohort that begins at the same time is there by then, and no copy of the origin's is taken
JOINING_S = 2.0  # after its first member, the others are: a successor would fetch what its owner is about to
FIRST_PAUSE_S = 0.5  # before a member that failed is asked again, doubled each time once all should be there
LONGEST_PAUSE_S = 30.0
COST = 5.0  # a pause is so many times as long as the failure took, at least: most of the time goes into what works
FAR = 4  # so many that fail after each other: whoever is behind a broken link must not find out of 32 one by one


@dataclass(slots=True)
class Above:
    """``stripes`` are those of the cohort above, ``second`` is how long a second is on the caller's clock."""

    stripes: Stripes
    began: float
    second: float = 1.0
    _patient_until: float = field(init=False)
    _known: set[int] = field(default_factory=set)  # members that have ever answered
    _failures: dict[int, int] = field(default_factory=dict)  # by member, since it last answered
    _not_before: dict[int, float] = field(default_factory=dict)
    _in_a_row: set[int] = field(default_factory=set)
    _none_before: float = 0.0

    def __post_init__(self) -> None:
        self._patient_until = self.began + PATIENCE_S * self.second

    def __repr__(self) -> str:
        return f"Above({len(self.stripes.members)} members, {len(self._not_before)} failing)"

    def next(self, chunk: int, *, refused: Collection[int], now: float) -> int | None:
        """Who is to be asked, but for those that ``refused`` this chunk; None where nobody is."""
        if now < self._none_before:
            return None
        for member in self.stripes.ranks(chunk):
            if member in refused:
                continue
            if self._not_before.get(member, now) <= now:
                return member
            if self.patient(now) and member not in self._known:
                return None
        return None

    def patient(self, now: float) -> bool:
        """May those who are not there be about to begin? Then it is too early for others, and for the origin."""
        return now < self._patient_until

    def answered(self, member: int, *, now: float) -> None:
        """It lives and takes part, whatever it answered."""
        if not self._known:
            self._patient_until = now + JOINING_S * self.second
        self._known.add(member)
        self._in_a_row.clear()
        self._failures.pop(member, None)
        if self._not_before.get(member) != float("inf"):
            self._not_before.pop(member, None)

    def failed(self, member: int, *, since: float, now: float) -> None:
        """Asked ``since`` then, it could not be reached, does not take part, broke off or took too long."""
        self._failures[member] = self._failures.get(member, 0) + 1
        pause = self._pause(self._failures[member], took=now - since, now=now)
        self._not_before[member] = max(self._not_before.get(member, now), now + pause)
        self._in_a_row.add(member)
        if len(self._in_a_row) >= FAR:
            self._none_before = now + pause

    def never(self, member: int) -> None:
        """It served wrong bytes."""
        self._not_before[member] = float("inf")

    def _pause(self, failures: int, *, took: float, now: float) -> float:
        first, longest = FIRST_PAUSE_S * self.second, LONGEST_PAUSE_S * self.second
        if self.patient(now):
            return first
        return min(longest, max(first * 2.0 ** min(failures - 1, 16), COST * took))
