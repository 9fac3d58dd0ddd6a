"""What a WarmSet's status says, computed from its groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from api.fields import Condition
from api.resources import GroupNode, Timeline, WarmGroup, WarmSet, WarmSetStatus
from controller.models.wanted import Problem
from controller.node_caches.warmth import Warmth
from controller.objects.conditions import with_condition
from controller.warm_sets.engine_images import Progress
from controller.warm_sets.retention import EXPIRED, PLANNED

MOST_GROUPS = 64  # as the schema
MOST_NODES = 128  # of one group; those not ready come first, the counts are of all

WARM, DEGRADED, IMAGES_PULLED = "Warm", "Degraded", "ImagesPulled"


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group as the status tells it. ``problem`` is why it has no nodes to warm, if it has none."""

    name: str
    domain: str
    nodes: tuple[Warmth, ...]
    problem: Problem | None = None
    refused: frozenset[str] = frozenset()  # nodes that a quota keeps the models off
    timeline: Timeline | None = None

    @property
    def ready(self) -> bool:
        return bool(self.nodes) and self.problem is None and all(node.ready for node in self.nodes)


def status(
    warm_set: WarmSet,
    reports: Sequence[GroupReport],
    *,
    bytes_total: int,
    now: datetime,
    given_up: str = "",
    eta: str = "",
    last_used: str = "",
    images: Progress | None = None,
) -> WarmSetStatus:
    """``bytes_total``: of all its models, on one node; ``eta`` as eta.py, ``last_used`` as retention.py gives it;
    ``given_up`` the named reason why it asks for nothing, if so; ``images`` how far its engine images are."""
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
        last_used=last_used,
        conditions=_conditions(warm_set, reports, nodes, now=now, given_up=given_up, images=images),
    )


def _conditions(
    warm_set: WarmSet,
    reports: Sequence[GroupReport],
    nodes: Sequence[Warmth],
    *,
    now: datetime,
    given_up: str,
    images: Progress | None,
) -> list[Condition]:
    found = list(warm_set.status.conditions)
    verdicts = {
        PLANNED: _planned(reports, given_up=given_up),
        WARM: _warm(reports, nodes, given_up=given_up),
        DEGRADED: _degraded(nodes, frozenset().union(*(report.refused for report in reports))),
    }
    if images is not None:
        verdicts[IMAGES_PULLED] = _pulled(images)
    else:
        found = [condition for condition in found if condition.type != IMAGES_PULLED]
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


def _planned(reports: Sequence[GroupReport], *, given_up: str) -> _Verdict:
    if given_up:
        words = "not used for as long as it is kept" if given_up == EXPIRED else "asked to give its models up"
        return "False", given_up, words
    if not reports:
        return "False", "NothingToWarm", "no pods ask for it, and no nodes match"
    problems = [(report.name, report.problem) for report in reports if report.problem is not None]
    if not problems:
        return "True", PLANNED, f"{len(reports)} groups have their nodes"
    name, first = problems[0]
    return "False", first.reason, f"{len(problems)} of {len(reports)} groups; {name}: {first.message}"


def _warm(reports: Sequence[GroupReport], nodes: Sequence[Warmth], *, given_up: str) -> _Verdict:
    if given_up:
        left = sum(1 for node in nodes if any(node.states))
        return "False", given_up, f"{left} nodes still hold some of it" if left else "no node holds any of it"
    ready = sum(report.ready for report in reports)
    text = f"{ready} of {len(reports)} groups, {sum(node.ready for node in nodes)} of {len(nodes)} nodes are warm"
    if reports and ready == len(reports):
        return "True", WARM, text
    problem = next((report.problem for report in reports if report.problem is not None), None)
    if problem is not None:
        return "False", problem.reason, problem.message
    return "False", "Warming" if reports else "NothingToWarm", text


def _degraded(nodes: Iterable[Warmth], refused: frozenset[str]) -> _Verdict:
    if refused:
        some = ", ".join(sorted(refused)[:8])
        return "True", "QuotaExceeded", f"the namespace's quota is used up on {len(refused)} nodes, such as {some}"
    failures = [(node.node, node.failure) for node in nodes if node.failure is not None]
    if not failures:
        return "False", "AsExpected", ""
    name, first = failures[0]
    words = f": {first.message}" if first is not None and first.message else ""
    reason = (first.reason if first is not None else "") or "PullFailed"
    return "True", reason, f"{len(failures)} nodes failed, such as {name}{words}"


def _pulled(images: Progress) -> _Verdict:
    text = f"{images.there} of {images.wanted} images are on their nodes"
    if images.trouble:
        return "False", "ImagePullFailed", f"{text}; {images.trouble}"
    return ("True", "Pulled", text) if images.there == images.wanted else ("False", "Pulling", text)


def _group(report: GroupReport) -> WarmGroup:
    shown = sorted(report.nodes, key=lambda node: (node.ready, node.node))[:MOST_NODES]
    return WarmGroup(
        name=report.name,
        domain=report.domain,
        ready=report.ready,
        nodes=[_node(node, refused=node.node in report.refused) for node in sorted(shown, key=lambda node: node.node)],
        timeline=report.timeline,
    )


def _node(node: Warmth, *, refused: bool) -> GroupNode:
    reason = "QuotaExceeded" if refused else node.obstacle
    return GroupNode(
        name=node.node, state=node.state, bytes_done=node.bytes_done, bytes_total=node.bytes_total, reason=reason
    )
