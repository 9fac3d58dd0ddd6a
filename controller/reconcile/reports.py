"""A WarmSet's groups as its status tells them, by its placement; groups of its own are planned on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from api.resources import Placement, Timeline, WarmSet
from controller.cluster.roster import Enrolment
from controller.gate.gather import living
from controller.models import permitted
from controller.models.wanted import Problem, Wanted
from controller.node_caches.warmth import Warmth, warmth
from controller.objects.pods import Pod
from controller.reconcile.context import Context
from controller.warm_sets import timeline
from controller.warm_sets.group_placement import placed_groups, plan_groups
from controller.warm_sets.node_placement import selects, strangers
from controller.warm_sets.status import GroupReport


def of_groups(context: Context, warm_set: WarmSet, wanted: tuple[Wanted, ...], *, now: datetime) -> list[GroupReport]:
    placement = warm_set.spec.placement.groups
    assert placement is not None  # noqa: S101 (asked by the caller)
    reports = []
    nodes = context.snapshots.all("", wanted)  # such groups take no room, so all see the same
    held = {group: context.roster.plan(group).all_nodes for group in placed_groups(warm_set)}
    plans = plan_groups(placement, nodes, held=held, levels=context.snapshots.levels)
    for index, (group, chosen) in enumerate(plans.items()):
        for name in context.roster.set_plan(group, chosen):
            context.node(name)
        planned = tuple(node.warmth for node in nodes.some(chosen.all_nodes))
        name = f"{warm_set.metadata.name}-{index}"
        stages = _stages(context, warm_set, name, planned, (), size=placement.size, now=now)
        problem = None if chosen.fits else Problem(chosen.reason, chosen.why)
        refused = refused_on(context, planned, wanted)
        reports.append(GroupReport(name, chosen.domain, planned, problem, refused, stages))
    return reports


def of_nodes(context: Context, placement: Placement, wanted: tuple[Wanted, ...]) -> list[GroupReport]:
    """The chosen nodes as one group: they are wanted together, and nothing else binds them."""
    names = sorted(name for name, view in context.world.nodes.items() if selects(placement, view))
    lost = strangers(placement, context.world.nodes)
    problem = Problem("NodeNotFound", f"the cluster has no node {', '.join(lost[:8])}") if lost else None
    nodes = warmth_on(context, names, wanted)
    report = GroupReport("nodes", "", nodes, problem, refused_on(context, nodes, wanted))
    return [report] if names or lost else []


def of_holders(context: Context, wanted: tuple[Wanted, ...]) -> list[GroupReport]:
    """The nodes that still hold what nobody asks for any more."""
    held = [one for one in warmth_on(context, sorted(context.world.nodes), wanted) if any(one.states)]
    return [GroupReport("nodes", "", tuple(held))] if held else []


def of_workload(context: Context, warm_set: WarmSet, *, now: datetime) -> list[GroupReport]:
    reports: dict[str, GroupReport] = {}
    for group, enrolment, pods in workload_groups(context, warm_set):
        wanted, problem = permitted.of_pods(pods, context.world.models)
        chosen, decision = context.roster.plan(group), context.reports.get(group)
        if (
            problem is None
            and decision is not None
            and not chosen.all_nodes
            and decision.reason not in ("Warm", "Released")
        ):
            problem = Problem(decision.reason, decision.message)
        planned = warmth_on(context, sorted(chosen.all_nodes), wanted)
        name = enrolment.member.name
        if name in reports:  # two lives of one group overlap for a moment; the status' list wants each name once
            name = f"{name}.{group[:6]}"
        stages = _stages(context, warm_set, name, planned, pods, size=enrolment.member.size, now=now)
        refused = refused_on(context, planned, wanted)
        reports[name] = GroupReport(name, chosen.domain, planned, problem, refused, stages)
    return [reports[name] for name in sorted(reports)]


def workload_groups(context: Context, warm_set: WarmSet) -> Iterator[tuple[str, Enrolment, tuple[Pod, ...]]]:
    """The living groups of the workload that the WarmSet was made for."""
    for group in context.roster.groups_of((warm_set.metadata.namespace, warm_set.metadata.name)):
        enrolment, pods = context.roster.enrolment(group), living(context.world, context.roster, group)
        if enrolment is not None and pods:
            yield group, enrolment, pods


def warmth_on(context: Context, names: Iterable[str], wanted: tuple[Wanted, ...]) -> tuple[Warmth, ...]:
    world = context.world
    return tuple(
        warmth(name, node=world.nodes.get(name), cache=world.caches.get(name), wanted=wanted) for name in names
    )


def refused_on(context: Context, nodes: Iterable[Warmth], wanted: Sequence[Wanted]) -> frozenset[str]:
    """Of these nodes, those that a quota keeps one of the models off."""
    return frozenset(n.node for n in nodes if not context.refused.get(n.node, frozenset()).isdisjoint(wanted))


def _stages(
    context: Context,
    warm_set: WarmSet,
    name: str,
    nodes: Sequence[Warmth],
    pods: Sequence[Pod],
    *,
    size: int,
    now: datetime,
) -> Timeline:
    """Written down in the status; each stage that is new is counted from when the group's first pod was made."""
    before = next((group.timeline for group in warm_set.status.groups if group.name == name), None)
    after = timeline.observe(before, nodes=nodes, pods=pods, size=size, now=now)
    born = timeline.created(pods)
    if born is not None:
        for stage in timeline.reached_now(before, after):
            context.metrics.cold_starts.labels(stage=stage).observe(max(0.0, (now - born).total_seconds()))
    return after
