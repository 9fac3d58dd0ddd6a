"""Which pulls to start, which to stop and what to remove next: decisions without effects."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from api.errors import RateLimited, WarmsetError
from daemonset.pulling.desired import Desired

RETRY_BASE_S = 1.0
RETRY_CAP_S = 60.0
# An error that a retry does not help (no such tag, no credentials) can still be mended at the source or by the
# broker without a change of the NodeCache, so it is tried again, seldom.
PERMANENT_RETRY_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the decision looks at. Keys are ``Desired.key``; times are seconds of one monotonic clock."""

    desired: Mapping[str, Desired]
    held: frozenset[str]
    flying: Mapping[str, Desired]
    stopping: frozenset[str]
    retry_at: Mapping[str, float]
    now: float
    slots: int
    removable: frozenset[str]
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    start: tuple[Desired, ...]
    stop: tuple[str, ...]
    remove: tuple[str, ...]
    wake_at: float | None
    """When the next retry is due."""


def plan(now: Snapshot) -> Plan:
    """Highest priority first, else in the order of the list; one pull a revision at a time.

    A pull whose entry is gone or Absent stops. So does the lowest one when a higher priority waits without a free
    slot: what it has on disk stays for when it goes on. While paused nothing starts and nothing is removed.
    """
    stop = [key for key in now.flying if key not in now.stopping and not _wanted(now.desired.get(key))]
    if now.paused:
        return Plan(start=(), stop=tuple(stop), remove=(), wake_at=None)
    waiting = sorted(
        (d for key, d in now.desired.items() if not d.absent and key not in now.held and key not in now.flying),
        key=lambda d: -d.priority,
    )
    ready = [d for d in waiting if now.retry_at.get(d.key, 0.0) <= now.now]
    busy = {_content(d) for d in now.flying.values()}
    start: list[Desired] = []
    for candidate in ready:
        if _content(candidate) in busy:
            continue
        if len(now.flying) + len(start) < now.slots:
            start.append(candidate)
            busy.add(_content(candidate))
        else:
            # A slot that is being freed already serves the first waiting candidate; free one more only for the next.
            stop.extend(_preempted(now, candidate, leaving={*stop, *now.stopping}))
            break
    return Plan(
        start=tuple(start),
        stop=tuple(stop),
        remove=tuple(key for key, d in now.desired.items() if d.absent and key in now.removable),
        wake_at=min((now.retry_at[d.key] for d in waiting if d not in ready), default=None),
    )


def retry_delay_s(error: WarmsetError, *, attempt: int) -> float:
    """Seconds until try number ``attempt`` + 1, jittered; what the source asked for counts as the least."""
    if not error.retryable:
        return random.uniform(0.8, 1.2) * PERMANENT_RETRY_S  # noqa: S311 (jitter, not a secret)
    delay_s = random.uniform(0.5, 1.0) * min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(attempt - 1, 16))  # noqa: S311
    if isinstance(error, RateLimited):
        # Never exactly then: every node of a rollout was told the same moment.
        delay_s = max(delay_s, error.retry_after_s * random.uniform(1.0, 1.2))  # noqa: S311
    return delay_s


def _wanted(desired: Desired | None) -> bool:
    return desired is not None and not desired.absent


def _content(desired: Desired) -> str:
    return desired.revision or desired.source


def _preempted(now: Snapshot, candidate: Desired, *, leaving: set[str]) -> list[str]:
    if leaving or not now.flying:
        return []
    lowest = min(now.flying.values(), key=lambda d: d.priority)
    return [lowest.key] if lowest.priority < candidate.priority else []
