"""The stages of a group's cold start, each noted when it is first seen. Pure.

A stage that was not needed stays empty: a group whose nodes were warm already has neither pull nor first byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from api.resources import Timeline
from controller.node_caches.warmth import Warmth
from controller.objects.durations import format_time, parse_time
from controller.objects.pods import Pod, is_gated, node

STAGES = Timeline.__struct_fields__


def observe(
    before: Timeline | None, *, nodes: Sequence[Warmth], pods: Sequence[Pod], size: int, now: datetime
) -> Timeline:
    """``nodes`` are those of the group's plan, ``pods`` its living ones, ``size`` how many it will have.

    A timeline that began before the pods were made is of an earlier life of the group.
    """
    born = created(pods)
    if before is None or (before.planned and born is not None and parse_time(before.planned) < born):
        before = Timeline()
    reached = dict(_reached(nodes, pods, size))
    moment = format_time(now)
    return Timeline(**{stage: getattr(before, stage) or (moment if reached[stage] else "") for stage in STAGES})


def reached_now(before: Timeline | None, after: Timeline) -> list[str]:
    return [stage for stage in STAGES if getattr(after, stage) and (before is None or not getattr(before, stage))]


def created(pods: Sequence[Pod]) -> datetime | None:
    """When the first of the pods was made."""
    return min((parse_time(pod["metadata"]["creationTimestamp"]) for pod in pods), default=None)


def _reached(nodes: Sequence[Warmth], pods: Sequence[Pod], size: int) -> Iterator[tuple[str, bool]]:
    warm = bool(nodes) and all(node.ready for node in nodes)
    pulling = bool(nodes) and not warm  # what was warm at first sight needed no pull
    yield "planned", bool(nodes)
    yield "pull_started", pulling and any(one.state == "Pulling" for one in nodes)
    yield "first_byte", pulling and any(one.bytes_done > 0 for one in nodes)
    yield "warm", warm
    yield "released", bool(pods) and not any(map(is_gated, pods))
    yield "bound", len(pods) >= size and all(map(node, pods))
    yield "mounted", len(pods) >= size and all(map(_is_mounted, pods))


def _is_mounted(pod: Pod) -> bool:
    """kubelet makes a pod's sandbox after its volumes are mounted (kubelet.go, SyncPod)."""
    status = pod.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return status.get("phase") == "Running" or conditions.get("PodReadyToStartContainers") == "True"
