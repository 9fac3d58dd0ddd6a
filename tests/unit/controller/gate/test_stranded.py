"""Which pods are deleted because our own term keeps them from being scheduled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api import keys
from controller.cluster.roster import Enrolment
from controller.gate.stranded import stranded
from controller.groups import GroupMember, Owner

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
LATER = SINCE + timedelta(seconds=61)
LWS = Owner(api_version="leaderworkerset.x-k8s.io/v1", kind="LeaderWorkerSet", name="vllm", uid="1")
JOB = Owner(api_version="batch/v1", kind="Job", name="train", uid="2")


def pod(*, ours: bool = True, reason: str = "Unschedulable", **spec: Any) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "reason": reason, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    annotations = {keys.REQUIRED: "rack=r1"} if ours else {}
    return {"metadata": {"name": "p", "annotations": annotations}, "spec": spec, "status": {"conditions": [condition]}}


def enrolment(*chain: Owner) -> Enrolment:
    member = GroupMember(system="lws", namespace="t", key="k", name="p", size=1)
    return Enrolment(member=member, chain=chain, top=LWS)


def test_a_pod_that_our_term_has_kept_unschedulable_for_a_minute_is_one() -> None:
    assert stranded([pod()], enrolment(LWS), now=LATER) == [pod()]


@pytest.mark.parametrize(
    ("body", "chain", "now"),
    [
        (pod(), (LWS,), SINCE + timedelta(seconds=59)),
        (pod(ours=False), (LWS,), LATER),
        (pod(reason="SchedulingGated"), (LWS,), LATER),
        (pod(nodeName="n1"), (LWS,), LATER),
        (pod(schedulingGates=[{"name": keys.GATE}]), (LWS,), LATER),
        (pod(), (), LATER),
        (pod(), (JOB,), LATER),
    ],
)
def test_any_other_is_left_alone(body: dict[str, Any], chain: tuple[Owner, ...], now: datetime) -> None:
    assert stranded([body], enrolment(*chain), now=now) == []
