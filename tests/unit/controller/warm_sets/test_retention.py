"""How long a WarmSet keeps asking after its models were last used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from api.fields import Condition, ObjectMeta
from api.resources import Placement, Retention, WarmSet, WarmSetSpec, WarmSetStatus
from controller.objects.durations import format_time
from controller.objects.pods import MountedModel, Mounting
from controller.warm_sets.retention import asks, expires, in_use, last_used

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MADE = NOW - timedelta(hours=3)


def warm_set(*, ttl: str | None = "2h", **status: Any) -> WarmSet:
    meta = ObjectMeta(name="w", namespace="team", creation_timestamp=format_time(MADE))
    retention = Retention(ttl_after_last_use=ttl) if ttl else None
    spec = WarmSetSpec(models=["llama"], placement=Placement(node_selector={}), retention=retention)
    return WarmSet(metadata=meta, spec=spec, status=WarmSetStatus(**status))


def pod(model: str = "team/llama", **metadata: Any) -> Mounting:
    return Mounting({"metadata": {"name": "p", "namespace": "team"} | metadata}, (MountedModel(model),))


def test_it_counts_from_its_creation_until_a_pod_uses_it() -> None:
    assert last_used(warm_set(), [], now=NOW) == format_time(MADE)
    assert last_used(warm_set(), [pod()], now=NOW) == format_time(NOW)


def test_a_use_is_noted_anew_only_after_a_tenth_of_the_time() -> None:
    soon = format_time(NOW - timedelta(minutes=11))
    assert last_used(warm_set(last_used=soon), [pod()], now=NOW) == soon
    assert last_used(warm_set(last_used=format_time(NOW - timedelta(minutes=13))), [pod()], now=NOW) == format_time(NOW)


def test_a_pod_that_is_going_or_mounts_something_else_is_no_use() -> None:
    assert in_use(warm_set(), [pod()])
    assert not in_use(warm_set(), [pod("team/other"), pod(deletionTimestamp=format_time(NOW))])


def test_it_ends_when_its_time_has_passed_and_without_a_time_never() -> None:
    assert expires(warm_set(), format_time(MADE)) == MADE + timedelta(hours=2)
    assert last_used(warm_set(ttl=None), [pod()], now=NOW) == ""
    assert expires(warm_set(ttl=None), "") is None


def test_what_was_written_down_as_expired_asks_for_nothing() -> None:
    condition = Condition(type="Planned", status="False", reason="Expired", last_transition_time=format_time(NOW))
    assert not asks(warm_set(conditions=[condition]))
    assert asks(warm_set())
