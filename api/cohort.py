"""Who shares a pull with whom, as NodeCaches tell it: every node's seat in a cohort."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEAT = re.compile(r"([0-9a-f]{16})/([0-9]{1,2}|-)/([0-9]{1,2})")
PATTERN = rf"^({_SEAT.pattern})?$"
MAX_SEATS = 32  # each member keeps a connection to every other


@dataclass(frozen=True, slots=True)
class Seat:
    """``number`` is one of ``seats`` that share the work, None for a node that came later and only reads.

    A cohort's seats never change, whoever takes them: all members must agree on how many there are.
    """

    cohort: str  # 16 hex digits
    number: int | None
    seats: int

    def __str__(self) -> str:
        return f"{self.cohort}/{'-' if self.number is None else self.number}/{self.seats}"

    @classmethod
    def parse(cls, text: str) -> Seat | None:
        """None for the empty text, of a node that pulls alone, and for what is no seat."""
        match = _SEAT.fullmatch(text)
        if match is None:
            return None
        cohort, number, seats = match.group(1), match.group(2), int(match.group(3))
        seat = cls(cohort, None if number == "-" else int(number), seats)
        return seat if 0 < seats <= MAX_SEATS and (seat.number or 0) < seats else None
