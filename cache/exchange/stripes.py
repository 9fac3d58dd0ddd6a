"""Who brings which chunk into a cohort (rule R1).

The chunks of a tree, in order, form stripes of as many chunks as the cohort has members; a seeded permutation gives
each member exactly one chunk of a stripe. So all members have the same to do at every moment of the pull; independent
random choices give that only on the average, and everybody then waits for the unluckiest. For the same reason the
successors of an owner, who are asked when it is gone, take turns from stripe to stripe, in an order that is drawn anew
for each round.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cache.exchange.bits import below, bit


@dataclass(frozen=True, eq=False)
class Stripes:
    """Ownership for one epoch. ``seed`` and the order of ``members`` must be the same on every node: sort them."""

    seed: str
    members: tuple[str, ...]
    chunks: int
    owned: tuple[int, ...] = field(init=False, repr=False)  # by member, the set of its chunks
    _owners: tuple[int, ...] = field(init=False, repr=False)
    _rounds: dict[tuple[int, int], tuple[int, ...]] = field(init=False, repr=False, default_factory=dict)  # no state

    def __post_init__(self) -> None:
        size = len(self.members)
        owners: list[int] = []
        for stripe in range(self.stripes):
            order = sorted(range(size), key=lambda member: _hash(self.seed, "stripe", stripe, self.members[member]))
            owners += order[: self.chunks - stripe * size]
        owned = [0] * size
        for chunk, member in enumerate(owners):
            owned[member] |= bit(chunk)
        object.__setattr__(self, "_owners", tuple(owners))
        object.__setattr__(self, "owned", tuple(owned))

    @property
    def stripes(self) -> int:
        return -(-self.chunks // len(self.members))

    @property
    def all(self) -> int:
        return below(self.chunks)

    def stripe(self, chunk: int) -> int:
        return chunk // len(self.members)

    def before(self, stripe: int) -> int:
        """The chunks of all stripes before ``stripe``."""
        return below(min(stripe * len(self.members), self.chunks))

    def owner(self, chunk: int) -> int:
        return self._owners[chunk]

    def ranks(self, chunk: int) -> tuple[int, ...]:
        """All members in the order in which they answer for ``chunk``: its owner, then its successors."""
        owner = self._owners[chunk]
        if len(self.members) == 1:
            return (owner,)
        round_, turn = divmod(self.stripe(chunk), len(self.members) - 1)
        successors = self._successors(owner, round_)
        return (owner, *successors[turn:], *successors[:turn])

    def _successors(self, owner: int, round_: int) -> tuple[int, ...]:
        known = self._rounds.get((owner, round_))
        if known is None:
            drawn = f"{round_} after {self.members[owner]}"
            others = [member for member in range(len(self.members)) if member != owner]
            others.sort(key=lambda member: _hash(self.seed, "round", drawn, self.members[member]))
            known = self._rounds[owner, round_] = tuple(others)
        return known


def _hash(seed: str, kind: str, number: int | str, member: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{kind}\0{number}\0{member}".encode(), digest_size=8).digest()
