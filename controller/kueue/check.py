"""Our admission check: a Workload is admitted when the nodes that Kueue has assigned to it are warm.

For clusters with ``waitForPodsReady``: its clock starts at admission, so that it does not run while weights download.
What the check waits for is a WarmSet over the assigned nodes, owned by the Workload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.errors import WarmsetError
from api.resources import WarmSet
from controller.kueue.placed import nodes_at
from controller.kueue.workload import PodSet, Workload
from controller.models.requests import Request, requests
from controller.objects.durations import parse_time
from controller.objects.nodes import NodeView

MOST_NODES = 256  # of WarmSet's placement.nodes


@dataclass(frozen=True, slots=True)
class Answer:
    """``state`` as Kueue has it. ``nodes`` are to be warmed, with what ``asked`` says."""

    state: str
    message: str
    nodes: tuple[str, ...] = ()
    asked: tuple[Request, ...] = ()


def answer(
    workload: Workload, warm_set: WarmSet | None, *, nodes: Mapping[str, NodeView], most_s: int, now: datetime
) -> Answer:
    """For a Workload whose quota is reserved. Never a refusal: what cannot be warmed beforehand waits in the gate."""
    asking = [pod_set for pod_set in workload.pod_sets if _asked(pod_set, workload.namespace)]
    if not asking:
        return Answer("Ready", "asks for no weights")
    if any(pod_set.places is None for pod_set in asking):
        return Answer("Ready", "Kueue assigns no nodes beforehand; the pods' gate waits for the weights")
    asked = tuple(request for pod_set in asking for request in _asked(pod_set, workload.namespace))
    found = tuple(sorted(nodes_at([place for pod_set in asking for place in pod_set.places or ()], nodes)))
    if len(found) > MOST_NODES:
        return Answer(
            "Ready", f"{len(found)} nodes; at most {MOST_NODES} are warmed beforehand, the gate waits for all"
        )
    if now - parse_time(workload.reserved_at) >= timedelta(seconds=most_s):
        return Answer("Ready", "held for long enough; the pods' mounts wait for what is missing", found, asked)
    if warm_set is None or set(warm_set.spec.placement.nodes or ()) != set(found):
        return Answer("Pending", f"{len(found)} nodes are to be warmed", found, asked)
    status = warm_set.status
    current = status.observed_generation == warm_set.metadata.generation
    said = next((c for c in status.conditions if c.type == "Warm"), None)
    if current and said is not None and said.status == "True":
        return Answer("Ready", f"{len(found)} nodes hold the weights", found, asked)
    return Answer("Pending", f"{status.nodes_ready if current else 0} of {len(found)} nodes are warm", found, asked)


def _asked(pod_set: PodSet, namespace: str) -> tuple[Request, ...]:
    """Nothing where the annotation cannot be read: its pods are refused with the reason."""
    secrets = [{"name": name} for name in pod_set.pull_secrets]
    pod = {"metadata": {"annotations": dict(pod_set.annotations)}, "spec": {"imagePullSecrets": secrets}}
    try:
        return requests(pod, namespace=namespace)
    except WarmsetError:
        return ()
