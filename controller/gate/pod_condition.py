"""The pod condition warmset.dev/weights-ready: tells on the pod itself what the controller waits for."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from api import keys
from controller.gate import hold
from controller.gate.decide import Decision, GroupFacts
from controller.objects.durations import format_time
from controller.objects.pods import Pod, gates, is_gated, key, node
from kube.client import ApiError, Client
from kube.resources import POD


async def write_conditions(client: Client, facts: GroupFacts, decision: Decision, *, now: datetime) -> None:
    """Patch the pods whose condition says something else. A pod that is gone is passed over."""
    changes = [(pod, found) for pod in facts.pods if (found := condition(pod, facts, decision, now=now)) is not None]
    await asyncio.gather(*(_patch(client, pod, found) for pod, found in changes))


def condition(pod: Pod, facts: GroupFacts, decision: Decision, *, now: datetime) -> dict[str, Any] | None:
    """The pod's condition as it should be; None when it is so already."""
    status, reason, message = _verdict(pod, facts, decision)
    conditions = (pod.get("status") or {}).get("conditions") or ()
    before = next((c for c in conditions if c.get("type") == keys.READY_CONDITION), None)
    if before is not None and (before["status"], before.get("reason"), before.get("message")) == (
        status,
        reason,
        message,
    ):
        return None
    # The hold's clock is read from the transition time: it starts again when the last foreign gate has gone.
    same = before is not None and before["status"] == status and before.get("reason") != hold.OTHER_GATES
    since = before["lastTransitionTime"] if before is not None and same else format_time(now)
    return {
        "type": keys.READY_CONDITION,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    }


def _verdict(pod: Pod, facts: GroupFacts, decision: Decision) -> tuple[str, str, str]:
    if is_gated(pod) and len(gates(pod)) > 1:
        others = ", ".join(name for name in gates(pod) if name != keys.GATE)
        return "False", hold.OTHER_GATES, f"also held by {others}"
    if node(pod):
        here = facts.nodes.get(node(pod))
        if here is not None and here.warmth.ready and facts.wanted:
            return "True", "Warm", "the pod's node holds its weights"
        return "False", "Landing", "the pod's node is pulling its weights; the mount waits"
    if key(pod) in decision.release or not is_gated(pod):
        return "False", "Released", decision.message if key(pod) in decision.release else "waits for the scheduler"
    return "False", decision.reason, decision.message


async def _patch(client: Client, pod: Pod, found: dict[str, Any]) -> None:
    namespace, name = key(pod)
    body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [found]}}
    try:
        await client.patch(POD, name, body, namespace=namespace, subresource="status", kind="strategic")
    except ApiError as error:
        if error.status not in (404, 409):  # gone, or another pod by this name
            raise
