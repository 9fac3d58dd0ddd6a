"""Who chooses a pod's node. Apart from its group: a LeaderWorkerSet may be placed by any of these.

Our terms are required only where the default scheduler places; the others have a domain in mind, or named the nodes
already, and a term that contradicts theirs would leave the pod pending for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT = "default-scheduler"
KUEUE = "kueue"
GROVE = "grove"
_KUEUE = "kueue.x-k8s.io/"


def placer(pod: Mapping[str, Any]) -> str:
    """A scheduler's name, or ``kueue`` (topology-aware) or ``grove``, which place for it."""
    labels = pod["metadata"].get("labels") or {}
    annotations = pod["metadata"].get("annotations") or {}
    gates = {gate["name"] for gate in pod["spec"].get("schedulingGates") or ()}
    if _KUEUE + "topology" in gates or any(name.startswith(f"{_KUEUE}podset-") for name in annotations):
        return KUEUE
    if "grove.io/podgang" in labels:
        return GROVE
    return str(pod["spec"].get("schedulerName") or DEFAULT)
