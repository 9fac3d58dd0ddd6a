"""Conditions (metav1.Condition): set without losing when they last changed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from api.fields import Condition
from controller.objects.durations import format_time


def condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    return next((c for c in conditions if c.type == kind), None)


def with_condition(
    conditions: Iterable[Condition],
    kind: str,
    *,
    status: Literal["True", "False", "Unknown"],
    reason: str,
    message: str = "",
    generation: int,
    now: datetime,
) -> list[Condition]:
    """The conditions with this one set; its transition time moves only when its status does."""
    before = condition(conditions, kind)
    since = before.last_transition_time if before is not None and before.status == status else format_time(now)
    after = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:32768],
        last_transition_time=since,
        observed_generation=generation,
    )
    return [*(c for c in conditions if c.type != kind), after]
