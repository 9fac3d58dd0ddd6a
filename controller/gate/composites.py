"""Groups that are parts of a larger whole go together: sub-groups of a LeaderWorkerSet, gangs of a composite one.

Each is planned by itself, within a domain of its own. Only parts that exist are waited for: some are made when
others run, or never.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controller.gate.decide import Decision

PARTS_WARMING = "PartsWarming"
# Of a part that keeps no other waiting: it is warm, it runs, or it goes without its weights.
_SETTLED = frozenset({"Warm", PARTS_WARMING, "Released", "HoldExpired", "NoDomainFits"})


def is_settled(decision: Decision | None) -> bool:
    return decision is not None and decision.reason in _SETTLED


def together(decision: Decision, others: Iterable[Decision | None]) -> Decision:
    """``decision``, or to wait for the ``others`` of its whole (None where nothing was decided yet)."""
    waited_for = sum(not is_settled(other) for other in others)
    if decision.reason != "Warm" or not waited_for:
        return decision
    message = f"its own nodes are warm; {waited_for} other parts of the whole are not"
    return replace(decision, reason=PARTS_WARMING, message=message, release=(), nominations={})
