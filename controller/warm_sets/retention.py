"""How long a WarmSet keeps asking: ``retention.ttlAfterLastUse``. Pure.

It is in use while a pod on a node mounts one of its models. What has expired asks for nothing until it is used again;
its bytes stay on the nodes until their room is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from api.resources import WarmSet
from controller.objects import durations
from controller.objects.conditions import condition
from controller.objects.durations import format_time, parse_time
from controller.objects.pods import Mounting, is_going
from controller.warm_sets.cooling import is_cooled

PLANNED, EXPIRED = "Planned", "Expired"  # the condition, and its reason
LOOK_S = 60.0  # how often to look whether it is used again
_SHARE = 10  # a use is noted again after this part of the time, so that a pod's life costs few writes


def asks(warm_set: WarmSet) -> bool:
    """Whether it wants anything on any node, as far as was written down."""
    planned = condition(warm_set.status.conditions, PLANNED)
    return not is_cooled(warm_set) and (planned is None or planned.reason != EXPIRED)


def in_use(warm_set: WarmSet, mounting: Iterable[Mounting]) -> bool:
    namespace = warm_set.metadata.namespace
    names = {name if "/" in name else f"{namespace}/{name}" for name in warm_set.spec.models}
    return any(not is_going(pod) and any(mount.model in names for mount in models) for pod, models in mounting)


def last_used(warm_set: WarmSet, mounting: Iterable[Mounting], *, now: datetime) -> str:
    """RFC 3339, for the status; '' where nothing depends on it. ``mounting``: what pods on nodes mount."""
    time = _time(warm_set)
    if time is None:
        return ""
    before = warm_set.status.last_used or warm_set.metadata.creation_timestamp or format_time(now)
    if in_use(warm_set, mounting) and now - parse_time(before) > time / _SHARE:
        return format_time(now)
    return before


def expires(warm_set: WarmSet, used: str) -> datetime | None:
    """When it stops to ask, if it is not used again after ``used``."""
    time = _time(warm_set)
    return None if time is None or not used else parse_time(used) + time


def _time(warm_set: WarmSet) -> timedelta | None:
    retention = warm_set.spec.retention
    if retention is None or not retention.ttl_after_last_use:
        return None
    return timedelta(seconds=durations.seconds(retention.ttl_after_last_use))
