"""How long a gate may hold: long waits trip other controllers' timers, and a gated pod asks no autoscaler for nodes.

The clock starts when ours is the only gate left, and ends at the configured bound or the pod's own
``warmset.dev/max-hold``, and in any case at 80 % of the shortest deadline that the pod's owners are known to have, or
Kueue has: it evicts a workload whose pods are not Ready in time, and does not say in its API how long that is.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from api import keys
from api.errors import InvalidRequest
from controller.config import HoldLimits
from controller.groups import Owner
from controller.objects import durations
from controller.objects.pods import Pod, gates

OWNER_SHARE = 0.8
_KUEUE = "kueue.x-k8s.io/managed"  # label on pods whose Workload Kueue admits
OTHER_GATES = "OtherGates"  # reason of the pod condition while somebody else's gate holds the pod as well


def limit_s(pod: Pod, owners: Iterable[Owner], *, limits: HoldLimits) -> float:
    """Seconds that the gate may hold this pod."""
    found: list[float] = [limits.most_s]
    asked = (pod["metadata"].get("annotations") or {}).get(keys.MAX_HOLD)
    if asked:
        with suppress(InvalidRequest):  # refused at admission; a pod edited later keeps the configured bound
            found.append(durations.seconds(asked))
    deadlines = [owner.deadline_s for owner in owners] + [pod["spec"].get("activeDeadlineSeconds")]
    if _KUEUE in (pod["metadata"].get("labels") or {}):
        deadlines.append(limits.kueue_s)
    found += [deadline * OWNER_SHARE for deadline in deadlines if deadline is not None]
    return min(found)


def started(pod: Pod) -> datetime | None:
    """When the clock started, or None while another gate holds the pod too.

    The pod condition tells when we first saw ours as the only gate, so that a restart of the controller does not
    start the clock anew; a pod that never had another gate counts from its creation.
    """
    if gates(pod) != (keys.GATE,):
        return None
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == keys.READY_CONDITION and condition.get("lastTransitionTime"):
            return (
                None
                if condition.get("reason") == OTHER_GATES
                else durations.parse_time(condition["lastTransitionTime"])
            )
    return durations.parse_time(pod["metadata"]["creationTimestamp"])


def expires(pod: Pod, owners: Iterable[Owner], *, limits: HoldLimits) -> datetime | None:
    begun = started(pod)
    return None if begun is None else begun + timedelta(seconds=limit_s(pod, owners, limits=limits))
