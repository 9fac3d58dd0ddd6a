"""What a member answers to one that asks for a chunk (rules R4, R5)."""

from __future__ import annotations

from enum import Enum

from cache.exchange.view import State, View


class Answer(Enum):
    SEND = "send"
    HOLD = "hold"  # it is fetched upstream by ourselves, or will be: the request waits for that
    ADOPT = "adopt"  # as HOLD, and from now on it is ours to fetch
    REFUSE = "refuse"  # we have left it to others: the asker looks at our state and asks a successor


def answer(view: View, chunk: int) -> Answer:
    """Never wait for somebody else's chunk: a held request depends on nothing but our own fetching."""
    if view.have >> chunk & 1:
        return Answer.SEND
    if (view.from_upstream | view.adopted) >> chunk & 1:
        return Answer.HOLD
    if view.me is None:
        return Answer.REFUSE
    if view.own.released >> chunk & 1:
        return Answer.REFUSE if _others(view) else Answer.ADOPT
    if view.cut_off and any(not state.resigned for state in _others(view)):
        return Answer.REFUSE
    return Answer.HOLD if view.stripes.owner(chunk) == view.me else Answer.ADOPT


def _others(view: View) -> list[State]:
    return [
        state
        for member, state in enumerate(view.states)
        if state is not None and member != view.me and view.alive(member)
    ]
