"""What one member of a cohort knows at one moment: the input of every decision."""

from __future__ import annotations

from dataclasses import dataclass

from cache.exchange.bits import NOTHING
from cache.exchange.stripes import Stripes


@dataclass(frozen=True, slots=True)
class State:
    """What a member tells its cohort.

    ``have`` are the chunks that it has, ``released`` those of its own that it leaves to others; ``resigned`` says that
    these are all the rest, because it cannot send as fast as others do. ``sends`` counts the chunks it has sent, whole.
    """

    have: int = NOTHING
    released: int = NOTHING
    resigned: bool = False
    sends: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """``me`` is an index into the stripes' members, or None for a joiner, who owns nothing (R4).

    Sets of chunks are bit sets (``cache.exchange.bits``), and so is ``dead``, a set of members.
    """

    stripes: Stripes
    me: int | None
    own: State
    adopted: int  # chunks that others asked for here, though they are not ours (R5)
    states: tuple[State | None, ...]  # by member, as last heard; None for who has not started. The own one is not read
    dead: int
    from_upstream: int  # asked for upstream, not here yet
    from_peers: tuple[int | None, ...]  # by member, the chunk that it was asked for
    stuck: int  # of those asked for, the ones that take far longer than most
    sending: int  # being sent to others right now
    sent: int  # sent to at least one other, whole
    cut_off: bool = False  # nothing comes from upstream here

    @property
    def have(self) -> int:
        return self.own.have

    @property
    def missing(self) -> int:
        return self.stripes.all & ~self.own.have

    def alive(self, member: int) -> bool:
        return not self.dead >> member & 1

    def state(self, member: int) -> State | None:
        return self.own if member == self.me else self.states[member]
