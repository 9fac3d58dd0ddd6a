"""When a WarmSet will be warm, from its nodes' reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controller.node_caches.warmth import Warmth
from controller.warm_sets.eta import Paces, eta, observe

START = datetime(2026, 1, 1, tzinfo=UTC)


def node(name: str, done: int, *, total: int = 100) -> Warmth:
    # Without states a node counts as ready; here one that was never heard of keeps it from that.
    return Warmth(node=name, has_agent=True, states=(None,), bytes_total=total, bytes_done=done)


def after(*reports: tuple[int, list[Warmth]]) -> Paces:
    paces: Paces = {}
    for seconds, nodes in reports:
        paces = observe(paces, nodes, now=START + timedelta(seconds=seconds))
    return paces


def test_one_report_is_nothing_to_go_by() -> None:
    nodes = [node("a", 10)]
    assert eta(after((0, nodes)), nodes) == ""


def test_the_slowest_node_counts() -> None:
    last = [node("a", 50), node("b", 20)]
    paces = after((0, [node("a", 0), node("b", 0)]), (30, last))
    assert eta(paces, last) == "2026-01-01T00:02:30Z"


def test_equal_reports_give_equal_answers_however_much_later() -> None:
    last = [node("a", 50)]
    paces = after((0, [node("a", 0)]), (30, last), (45, last))
    assert eta(paces, last) == "2026-01-01T00:01:00Z"


def test_a_pull_that_began_anew_is_measured_anew() -> None:
    last = [node("a", 5)]
    assert eta(after((0, [node("a", 0)]), (30, [node("a", 50)]), (60, last)), last) == ""
