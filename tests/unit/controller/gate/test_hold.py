"""How long a gate may hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from api import keys
from controller.config import HoldLimits
from controller.gate.hold import expires, limit_s, started
from controller.groups import Owner

CREATED = "2026-01-01T00:00:00Z"


def pod(
    *gates: str,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    conditions: Any = (),
    **spec: Any,
) -> dict[str, Any]:
    held = [{"name": name} for name in gates or (keys.GATE,)]
    return {
        "metadata": {
            "name": "p",
            "creationTimestamp": CREATED,
            "annotations": annotations or {},
            "labels": labels or {},
        },
        "spec": {"schedulingGates": held} | spec,
        "status": {"conditions": list(conditions)},
    }


def owner(deadline_s: int | None) -> Owner:
    return Owner(api_version="apps/v1", kind="Deployment", name="d", uid="u", deadline_s=deadline_s)


@pytest.mark.parametrize(
    ("body", "owners", "limit"),
    [
        (pod(), [], 1800),
        (pod(annotations={keys.MAX_HOLD: "10m"}), [], 600),
        (pod(annotations={keys.MAX_HOLD: "2h"}), [], 1800),
        (pod(annotations={keys.MAX_HOLD: "soon"}), [], 1800),
        (pod(), [owner(600)], 480),
        (pod(), [owner(None)], 1800),
        (pod(labels={"kueue.x-k8s.io/managed": "true"}), [], 240),
        (pod(labels={"kueue.x-k8s.io/managed": "true"}), [owner(200)], 160),
        (pod(activeDeadlineSeconds=100), [owner(600)], 80),
    ],
)
def test_the_shortest_bound_counts_and_owners_deadlines_to_four_fifths(
    body: dict[str, Any], owners: list[Owner], limit: float
) -> None:
    assert limit_s(body, owners, limits=HoldLimits(1800, 300)) == limit


def test_the_clock_starts_at_creation_where_only_our_gate_holds() -> None:
    assert started(pod()) == datetime(2026, 1, 1, tzinfo=UTC)


def test_the_clock_stands_while_another_gate_holds_too() -> None:
    assert started(pod("kueue", keys.GATE)) is None
    assert expires(pod("kueue", keys.GATE), [], limits=HoldLimits(60)) is None


def test_the_clock_starts_when_the_last_foreign_gate_has_gone() -> None:
    def condition(reason: str) -> dict[str, str]:
        return {"type": keys.READY_CONDITION, "reason": reason, "lastTransitionTime": "2026-01-01T01:00:00Z"}

    assert started(pod(conditions=[condition("OtherGates")])) is None  # the condition is about to be written anew
    assert started(pod(conditions=[condition("Warming")])) == datetime(2026, 1, 1, 1, tzinfo=UTC)


def test_a_restart_does_not_start_the_clock_anew() -> None:
    assert expires(pod(), [], limits=HoldLimits(60)) == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
