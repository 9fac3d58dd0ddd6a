"""Who answers for the chunks that their owner does not bring, or not fast enough (rules R4, R6).

Everybody works this out for himself from what the members tell. Views differ for a moment; then a chunk is asked for at
a member that does not expect it, who adopts it (R5): a difference costs a chunk's transfer, never a stall.
"""

from __future__ import annotations

from cache.exchange.bits import NOTHING, each
from cache.exchange.survey import Survey
from cache.exchange.view import View

OVERDUE = 2  # stripes behind what most have got out: a chunk that only its slow owner has is taken over by one member
LATE_START = 2  # stripes behind the front: the chunks of a member that has not started go to their successors
DEMOTED = 8  # stripes behind: a chunk that its owner does not bring goes to its next successor, then to the next


def heirs(view: View, survey: Survey, *, within: int) -> dict[int, int]:
    """Chunk -> the member that answers for it in its owner's place, for the chunks in ``within`` that have one."""
    late = survey.sent(DEMOTED)
    if survey.ending:
        late |= view.stuck  # at the end no stripe passes by any more: there, time tells (hedging of the tail)
    found: dict[int, int] = {}
    for owner, owned in enumerate(view.stripes.owned):
        # Who has a chunk already is asked for it as a holder; nobody needs to fetch it once more.
        orphans = owned & within & ~survey.beyond(owner)
        if orphans:
            for chunk in each(orphans & _orphaned(view, survey, owner, late=late)):
                found[chunk] = _heir(view, survey, chunk)
    return found


def relays(view: View, survey: Survey, *, within: int) -> dict[int, int]:
    """Chunk -> the member that takes it over from a slow owner, who is the only one to have it.

    Nobody else asks the owner, but waits until somebody else has it: a slow link then carries a chunk once, and not
    once for each member.
    """
    late = survey.sent(OVERDUE)
    found: dict[int, int] = {}
    for owner, state in survey.states.items():
        if owner != view.me and (state.resigned or owner in survey.weak):
            relayed = view.stripes.owned[owner] & within & state.have & ~survey.beyond(owner)
            for chunk in each(relayed if state.resigned else relayed & late):
                found[chunk] = _heir(view, survey, chunk)
    return found


def _orphaned(view: View, survey: Survey, owner: int, *, late: int) -> int:
    if not view.alive(owner):
        return view.stripes.all
    state = view.state(owner)
    if state is None:
        return survey.fetched(LATE_START)
    return state.released | (late if owner != view.me else NOTHING)


def _heir(view: View, survey: Survey, chunk: int) -> int:
    ranks = view.stripes.ranks(chunk)
    fit = [member for member in ranks[1:] if member in survey.states and not survey.states[member].resigned]
    fit = fit or [member for member in ranks[1:] if member in survey.states]
    if not fit:
        return ranks[0]  # there is nobody else
    # A successor that does not bring it either is passed over in its turn.
    turn = (survey.carried - view.stripes.stripe(chunk)) // DEMOTED
    return fit[max(min(turn, len(fit)) - 1, 0)]
