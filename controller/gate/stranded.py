"""Pods that our own required term keeps from ever being scheduled.

Affinity is immutable once the gates are gone. A pod that was let go into a domain (which its group had asked for)
stays Unschedulable for good when other pods fill the domain first. Such a pod is deleted, so that its controller
makes it anew, gated, and it is planned again. Once for a group in an hour: if that does not help, the reason lies
elsewhere. Never a pod without a controller, which nobody would make anew, and never a Job's, which would count a
failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from api import keys
from controller.cluster.roster import Enrolment
from controller.objects.durations import parse_time
from controller.objects.pods import Pod, is_gated, node

PATIENCE = timedelta(seconds=60)  # a scheduler under load, or an autoscaler that reacts at once, needs some of it
AGAIN = timedelta(hours=1)


def stranded(pods: Iterable[Pod], enrolment: Enrolment, *, now: datetime) -> list[Pod]:
    """Those that should be deleted."""
    if not enrolment.chain or any(owner.kind == "Job" for owner in enrolment.chain):
        return []
    return [pod for pod in pods if _by_us(pod) and _for_long(pod, now)]


def _by_us(pod: Pod) -> bool:
    annotations = pod["metadata"].get("annotations") or {}
    return keys.REQUIRED in annotations and not is_gated(pod) and not node(pod)


def _for_long(pod: Pod, now: datetime) -> bool:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return now - parse_time(condition["lastTransitionTime"]) >= PATIENCE
    return False
