"""The stages of a group's cold start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from api import keys
from api.resources import NodeModelStatus, Timeline
from controller.node_caches.warmth import Warmth
from controller.objects.durations import format_time
from controller.warm_sets.timeline import observe, reached_now

BORN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return BORN + timedelta(seconds=seconds)


def node(state: str, done: int = 0) -> Warmth:
    status = NodeModelStatus(model=keys.model_key("t", "m"), revision="r", state=state)  # type: ignore[arg-type]
    return Warmth("n1", has_agent=True, states=(status,), bytes_total=10, bytes_done=done)


def pod(*, gated: bool = True, bound: bool = False, running: bool = False) -> dict[str, Any]:
    spec: dict[str, Any] = {"schedulingGates": [{"name": keys.GATE}] if gated else []}
    status = {"conditions": [{"type": "PodReadyToStartContainers", "status": "True" if running else "False"}]}
    meta = {"name": "p", "namespace": "t", "creationTimestamp": format_time(BORN)}
    return {"metadata": meta, "spec": spec | ({"nodeName": "n1"} if bound else {}), "status": status}


def test_each_stage_is_noted_when_it_is_first_seen_and_stays() -> None:
    line: Timeline | None = None
    steps = [
        ([], pod()),
        ([node("Queued")], pod()),
        ([node("Pulling")], pod()),
        ([node("Pulling", 3)], pod()),
        ([node("Ready", 10)], pod()),
        ([node("Ready", 10)], pod(gated=False)),
        ([node("Ready", 10)], pod(gated=False, bound=True)),
        ([node("Ready", 10)], pod(gated=False, bound=True, running=True)),
    ]
    new = []
    for second, (nodes, one) in enumerate(steps):
        after = observe(line, nodes=nodes, pods=[one], size=1, now=at(second))
        new.append(reached_now(line, after))
        line = after
    expected = [[], ["planned"], ["pull_started"], ["first_byte"], ["warm"], ["released"], ["bound"], ["mounted"]]
    assert new == expected
    assert line is not None
    assert (line.planned, line.mounted) == (format_time(at(1)), format_time(at(7)))


def test_a_group_on_warm_nodes_has_no_pull() -> None:
    line = observe(None, nodes=[node("Ready", 10)], pods=[pod()], size=1, now=at(1))
    assert (line.planned, line.warm) == (format_time(at(1)),) * 2
    assert (line.pull_started, line.first_byte) == ("", "")


def test_a_group_is_bound_when_all_its_declared_pods_are() -> None:
    line = observe(None, nodes=[node("Ready")], pods=[pod(gated=False, bound=True)], size=2, now=at(1))
    assert line.bound == ""


def test_a_later_life_of_the_group_begins_anew() -> None:
    earlier = Timeline(planned=format_time(at(-60)), mounted=format_time(at(-30)))
    assert observe(earlier, nodes=[], pods=[pod()], size=1, now=at(1)) == Timeline()
