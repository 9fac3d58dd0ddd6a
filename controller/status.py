"""What a WarmSet's status says, computed from its groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from api.resources import Condition, GroupNode, WarmGroup, WarmSet, WarmSetStatus
from controller.conditions import with_condition
from controller.decide import Problem
from controller.warmth import Warmth

MOST_GROUPS = 64  # as the schema
MOST_NODES = 128  # of one group; those not ready come first, the counts are of all

PLANNED, WARM, DEGRADED = "Planned", "Warm", "Degraded"


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group as the status tells it. ``problem`` is why it has no nodes to warm, if it has none."""

    name: str
    domain: str
    nodes: tuple[Warmth, ...]
    problem: Problem | None = None

    @property
    def ready(self) -> bool:
        return bool(self.nodes) and self.problem is None and all(node.ready for node in self.nodes)


def status(
    warm_set: WarmSet,
    reports: Sequence[GroupReport],
    *,
    bytes_total: int,
    now: datetime,
    cooled: bool = False,
    eta: str = "",
) -> WarmSetStatus:
    """``bytes_total``: of all its models, on one node; ``eta`` as eta.py gives it."""
    nodes = [node for report in reports for node in report.nodes]
    shown = sorted(reports, key=lambda report: (report.ready, report.name))[:MOST_GROUPS]
    return WarmSetStatus(
        observed_generation=warm_set.metadata.generation,
        groups=[_group(report) for report in sorted(shown, key=lambda report: report.name)],
        groups_left_out=len(reports) - len(shown),
        groups_ready=sum(report.ready for report in reports),
        groups_desired=len(reports),
        nodes_ready=sum(node.ready for node in nodes),
        nodes_desired=len(nodes),
        bytes=bytes_total,
        eta=eta,
        conditions=_conditions(warm_set, reports, nodes, now=now, cooled=cooled),
    )


def _conditions(
    warm_set: WarmSet, reports: Sequence[GroupReport], nodes: Sequence[Warmth], *, now: datetime, cooled: bool
) -> list[Condition]:
    found = list(warm_set.status.conditions)
    verdicts = {
        PLANNED: _planned(reports, cooled=cooled),
        WARM: _warm(reports, nodes, cooled=cooled),
        DEGRADED: _degraded(nodes),
    }
    for kind, (state, reason, message) in verdicts.items():
        found = with_condition(
            found,
            kind,
            status=state,
            reason=reason,
            message=message,
            generation=warm_set.metadata.generation,
            now=now,
        )
    return found


_Verdict = tuple[Literal["True", "False", "Unknown"], str, str]


def _planned(reports: Sequence[GroupReport], *, cooled: bool) -> _Verdict:
    if cooled:
        return "False", "Cooled", "asked to give its models up"
    if not reports:
        return "False", "NothingToWarm", "no pods ask for it, and no nodes match"
    problems = [(report.name, report.problem) for report in reports if report.problem is not None]
    if not problems:
        return "True", PLANNED, f"{len(reports)} groups have their nodes"
    name, first = problems[0]
    return "False", first.reason, f"{len(problems)} of {len(reports)} groups; {name}: {first.message}"


def _warm(reports: Sequence[GroupReport], nodes: Sequence[Warmth], *, cooled: bool) -> _Verdict:
    if cooled:
        left = sum(1 for node in nodes if any(node.states))
        return "False", "Cooled", f"{left} nodes still hold some of it" if left else "no node holds any of it"
    ready = sum(report.ready for report in reports)
    text = f"{ready} of {len(reports)} groups, {sum(node.ready for node in nodes)} of {len(nodes)} nodes are warm"
    if reports and ready == len(reports):
        return "True", WARM, text
    problem = next((report.problem for report in reports if report.problem is not None), None)
    if problem is not None:
        return "False", problem.reason, problem.message
    return "False", "Warming" if reports else "NothingToWarm", text


def _degraded(nodes: Iterable[Warmth]) -> _Verdict:
    failures = [(node.node, node.failure) for node in nodes if node.failure is not None]
    if not failures:
        return "False", "AsExpected", ""
    name, first = failures[0]
    words = f": {first.message}" if first is not None and first.message else ""
    reason = (first.reason if first is not None else "") or "PullFailed"
    return "True", reason, f"{len(failures)} nodes failed, such as {name}{words}"


def _group(report: GroupReport) -> WarmGroup:
    shown = sorted(report.nodes, key=lambda node: (node.ready, node.node))[:MOST_NODES]
    return WarmGroup(
        name=report.name,
        domain=report.domain,
        ready=report.ready,
        nodes=[_node(node) for node in sorted(shown, key=lambda node: node.node)],
    )


def _node(node: Warmth) -> GroupNode:
    failure = node.failure
    reason = (failure.reason if failure else "") or ("" if node.has_agent else "NoAgent")
    return GroupNode(
        name=node.node, state=node.state, bytes_done=node.bytes_done, bytes_total=node.bytes_total, reason=reason
    )
