"""What we write onto Node objects themselves: protection from autoscalers while a plan holds a node, and the removal of
the taint under which a node joins. Pure.

Protection is two annotations, set where nobody else has set them, and taken back only where we did: a third one of our
own says which. An administrator's stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from api import keys
from controller.objects.durations import parse_time
from controller.objects.nodes import PROTECTIONS, NodeView


def protection(node: NodeView, *, held: bool) -> dict[str, str | None]:
    """Annotations to change, None for one to remove; empty when the node is as it should be."""
    ours = [key for key in node.annotations.get(keys.PROTECTED, "").split(",") if key in PROTECTIONS]
    if held:
        missing = [key for key in PROTECTIONS if key not in node.annotations]
        if not missing:
            return {}
        return {**dict.fromkeys(missing, "true"), keys.PROTECTED: ",".join(sorted({*ours, *missing}))}
    if keys.PROTECTED not in node.annotations:
        return {}
    # One that somebody has since set to something else is his.
    return {**dict.fromkeys(key for key in ours if node.annotations.get(key) == "true"), keys.PROTECTED: None}


def may_take_pods(node: NodeView, *, ready: bool, most_s: int, now: datetime) -> bool:
    """Whether a node that has joined under the taint has waited long enough: all that is wanted there is warm, or the
    time is over in which a pod would have waited."""
    return ready or now >= parse_time(node.created) + timedelta(seconds=most_s)


def untaint(taints: Sequence[Mapping[str, str]], key: str) -> list[dict[str, Any]]:
    """A JSON patch (RFC 6902) that applies to exactly these taints; empty where none has the key."""
    found = [index for index, taint in enumerate(taints) if taint["key"] == key]
    return [
        operation
        for index in reversed(found)
        for operation in (
            {"op": "test", "path": f"/spec/taints/{index}/key", "value": key},
            {"op": "remove", "path": f"/spec/taints/{index}"},
        )
    ]
