"""Who shares a pull with whom, as NodeCaches tell it: every node's seat in a cohort."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEAT = re.compile(r"([0-9a-f]{16})/([0-9]{1,2}|-)/([0-9]{1,2})(/([0-9a-f]{16})/([0-9]{1,2}))?")
PATTERN = rf"^({_SEAT.pattern})?$"
MAX_SEATS = 32  # each member keeps a connection to every other


@dataclass(frozen=True, slots=True)
class Seat:
    """``number`` is one of ``seats`` that share the work, None for a node that came later and only reads.

    A cohort's seats never change, whoever takes them: all members must agree on how many there are. ``above`` is the
    cohort that it reads from, which has so many seats; empty for one that reads the source. It was there before, and so
    no two cohorts ever wait for each other.
    """

    cohort: str  # 16 hex digits
    number: int | None
    seats: int
    above: str = ""
    above_seats: int = 0

    def __str__(self) -> str:
        own = f"{self.cohort}/{'-' if self.number is None else self.number}/{self.seats}"
        return f"{own}/{self.above}/{self.above_seats}" if self.above else own

    @classmethod
    def parse(cls, text: str) -> Seat | None:
        """None for the empty text, of a node that pulls alone, and for what is no seat."""
        match = _SEAT.fullmatch(text)
        if match is None:
            return None
        cohort, number, seats, _, above, above_seats = match.groups()
        seat = cls(cohort, None if number == "-" else int(number), int(seats), above or "", int(above_seats or 0))
        possible = 0 < seat.seats <= MAX_SEATS and (seat.number or 0) < seat.seats
        return seat if possible and bool(above) <= seat.above_seats <= MAX_SEATS else None
