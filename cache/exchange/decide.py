"""What a member asks for next, and what it leaves to others (rules R3 to R6).

Every member walks the chunks in the same order, with a queue of its own for each place that it asks: one request at a
time upstream and one to each other member, so that no slow answer holds up another. Held requests wait only for what
their holder fetches upstream, and upstream ends at the origin: no circle of waiting can come about.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache.exchange.bits import NOTHING, bit, each, lowest, union
from cache.exchange.heirs import OVERDUE, heirs, relays
from cache.exchange.survey import Survey
from cache.exchange.view import View

WINDOW = 32  # stripes that a member may run ahead of its first missing chunk (R2 asks for 8 at least)
RELEASED = 2  # stripes behind the front: a member leaves a chunk of its own that it has not begun to a successor
RESIGNED = 3  # stripes behind what most have got out: a member leaves all of them
UNSPREAD = 3  # so many chunks that nobody has taken over yet mean that sending is slow: do not fetch more to send


@dataclass(frozen=True, slots=True)
class Decision:
    """``upstream`` is to be asked for upstream, each of ``peers`` (member, chunk) at that member.

    ``release`` are own chunks to be left to their successors from now on, and with ``resign`` that is all there is;
    ``cancel`` are members whose request has become pointless.
    """

    upstream: int | None = None
    peers: tuple[tuple[int, int], ...] = ()
    release: int = NOTHING
    resign: bool = False
    cancel: tuple[int, ...] = ()


def decide(view: View, *, upstream_slots: int = 1) -> Decision:
    """The requests to make now. Pure: the same view gives the same decision.

    A place that has a request under way gets no second one, but for ``upstream_slots`` upstream.
    """
    if not view.missing:
        return Decision(cancel=_pointless(view, relayed=NOTHING))
    survey = Survey.of(view)
    near = _window(view) & view.missing
    heir_of = heirs(view, survey, within=near)
    relayed = union(chunk for chunk, heir in relays(view, survey, within=near).items() if heir != view.me)
    release, resign = _release(view, survey)
    upstream = None
    if view.from_upstream.bit_count() < upstream_slots:
        upstream = _next_upstream(view, survey, near=near & ~release, heir_of=heir_of)
    asked = view.from_upstream | (bit(upstream) if upstream is not None else NOTHING)
    peers = _next_of_peers(view, survey, near=near & ~relayed, heir_of=heir_of, asked=asked)
    return Decision(upstream, peers, release, resign, _pointless(view, relayed=relayed))


def _window(view: View) -> int:
    """Chunks near enough to the first missing one to be asked for."""
    return view.stripes.before(view.stripes.stripe(lowest(view.missing)) + WINDOW)


def _pointless(view: View, *, relayed: int) -> tuple[int, ...]:
    settled = view.have | relayed
    return tuple(member for member, chunk in enumerate(view.from_peers) if chunk is not None and settled >> chunk & 1)


def _release(view: View, survey: Survey) -> tuple[int, bool]:
    """Own chunks that are not begun and that the cohort has passed by; all of them, where sending is what is slow.

    Whoever is slow does less. Only the owner gives a chunk up, and says so: two members seldom fetch the same.
    """
    if view.me is None:
        return NOTHING, False
    begun = view.have | view.from_upstream | view.own.released
    open_ = view.stripes.owned[view.me] & ~begun
    lying = _unspread(view, survey) & survey.sent(RESIGNED)
    if view.own.resigned or (lying and view.me in survey.weak):
        return open_, True
    # Not in the last stripes: there everybody is about to begin what he has left.
    passed = survey.fetched(RELEASED) & view.stripes.before(view.stripes.stripes - RELEASED)
    return open_ & passed, False


def _unspread(view: View, survey: Survey) -> int:
    """What was fetched for others and has reached nobody. Nothing, unless it is being sent: who would end it?"""
    if view.me is None or not view.sending:
        return NOTHING
    return view.have & (view.stripes.owned[view.me] | view.adopted) & ~survey.beyond(view.me) & ~view.sent


def _next_upstream(view: View, survey: Survey, *, near: int, heir_of: dict[int, int]) -> int | None:
    if view.me is None:
        return None
    if _unspread(view, survey).bit_count() >= UNSPREAD:
        return None  # what was fetched does not get out: more would only lie here
    mine = view.stripes.owned[view.me] & ~view.own.released
    inherited = union(chunk for chunk, heir in heir_of.items() if heir == view.me)
    waiting = near & ~view.from_upstream & ((mine | view.adopted) & ~survey.once | inherited)
    return lowest(waiting) if waiting else None


def _next_of_peers(
    view: View, survey: Survey, *, near: int, heir_of: dict[int, int], asked: int
) -> tuple[tuple[int, int], ...]:
    inherited = [NOTHING] * len(view.states)
    for chunk, heir in heir_of.items():
        inherited[heir] |= bit(chunk)
    orphans = union(heir_of)
    asked |= union(chunk for chunk in view.from_peers if chunk is not None)
    # What the cohort has passed by may be had from whoever has it; what hangs may be asked for once more.
    mine = view.adopted | (view.stripes.owned[view.me] if view.me is not None else NOTHING)
    anywhere = (survey.fetched(OVERDUE) | _of_the_dead(view) | mine) & ~asked | view.stuck
    requests: list[tuple[int, int]] = []
    for member, chunk_asked in enumerate(view.from_peers):
        if chunk_asked is not None or member == view.me or not view.alive(member):
            continue
        choice = near & inherited[member] & ~asked
        state = view.states[member]
        if state is None:  # it will hold the request until it starts
            choice |= near & view.stripes.owned[member] & ~asked & ~orphans
        else:
            able = near & ~survey.willing if state.resigned or member in survey.weak else near
            choice |= able & view.stripes.owned[member] & ~asked & ~orphans & ~state.released
            choice |= able & state.have & anywhere
        if choice:
            chunk = lowest(choice)
            requests.append((member, chunk))
            asked |= bit(chunk)
            anywhere &= ~bit(chunk)
    return tuple(requests)


def _of_the_dead(view: View) -> int:
    found = NOTHING
    for member in each(view.dead):
        found |= view.stripes.owned[member]
    return found
