"""A WarmSet: its own groups planned, its nodes' caches told, its status written."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import structlog

from api.resources import Placement, WarmSet, WarmSetStatus
from controller import wants
from controller.cooling import is_cooled
from controller.decide import Problem, summary
from controller.eta import eta, observe
from controller.facts import living
from controller.made import warm_set_name
from controller.reconcile.context import Context, Work
from controller.resources import WARM_SET
from controller.selection import selects, strangers
from controller.status import GroupReport, status
from controller.warm_groups import placed_groups, plan_groups
from controller.warmth import Wanted, Warmth, warmth

log = structlog.get_logger()


async def reconcile(context: Context, work: Work) -> float | None:
    key, now = (work.namespace, work.name), datetime.now(UTC)
    warm_set = context.world.warm_sets.get(key)
    if warm_set is None or warm_set.metadata.deletion_timestamp:
        context.paces.pop(key, None)
        return None  # watching.py has told the nodes
    wanted, problem = wants.of_warm_set(warm_set, context.world.models)
    placement = warm_set.spec.placement
    if is_cooled(warm_set):
        reports = _cooled(context, wanted)
    elif placement.groups is not None:
        reports = _groups(context, warm_set, wanted)
    elif placement.workload is not None:
        reports = _workload(context, warm_set)
    else:
        reports = _selected(context, placement, wanted)
    if problem is not None:
        reports = [GroupReport(r.name, r.domain, r.nodes, r.problem or problem) for r in reports]
    nodes = [node for report in reports for node in report.nodes]
    for node in nodes:
        context.node(node.node)
    context.paces[key] = observe(context.paces.get(key, {}), nodes, now=now)
    found = status(
        warm_set,
        reports,
        bytes_total=sum(w.bytes for w in wanted),
        now=now,
        cooled=is_cooled(warm_set),
        eta=eta(context.paces[key], nodes),
    )
    if found != warm_set.status:
        await _write(context, warm_set, found)
    return None


def _groups(context: Context, warm_set: WarmSet, wanted: tuple[Wanted, ...]) -> list[GroupReport]:
    placement = warm_set.spec.placement.groups
    assert placement is not None  # noqa: S101 (asked by the caller)
    reports = []
    nodes = context.offers.all("", wanted)  # such groups take no room, so all see the same
    held = {group: context.book.plan(group).all_nodes for group in placed_groups(warm_set)}
    plans = plan_groups(placement, nodes, held=held, levels=context.offers.levels)
    for index, (group, chosen) in enumerate(plans.items()):
        for name in context.book.set_plan(group, chosen):
            context.node(name)
        planned = tuple(node.warmth for node in nodes.some(chosen.all_nodes))
        problem = None if chosen.fits else Problem(chosen.reason, summary(chosen.rejections))
        reports.append(GroupReport(f"{warm_set.metadata.name}-{index}", chosen.domain, planned, problem))
    return reports


def _selected(context: Context, placement: Placement, wanted: tuple[Wanted, ...]) -> list[GroupReport]:
    """The matching nodes as one group: they are wanted together, and nothing else binds them."""
    names = sorted(name for name, view in context.world.nodes.items() if selects(placement, view))
    lost = strangers(placement, context.world.nodes)
    problem = Problem("NodeNotFound", f"the cluster has no node {', '.join(lost[:8])}") if lost else None
    return [GroupReport("nodes", "", _warmth(context, names, wanted), problem)] if names or lost else []


def _cooled(context: Context, wanted: tuple[Wanted, ...]) -> list[GroupReport]:
    held = [w for w in _warmth(context, sorted(context.world.nodes), wanted) if any(w.states)]
    return [GroupReport("nodes", "", tuple(held))] if held else []


def _workload(context: Context, warm_set: WarmSet) -> list[GroupReport]:
    reports: dict[str, GroupReport] = {}
    for group in context.book.groups():
        enrolment = context.book.enrolment(group)
        pods = living(context.world, context.book, group)
        if enrolment is None or not pods or enrolment.member.namespace != warm_set.metadata.namespace:
            continue
        if warm_set_name(enrolment.top) != warm_set.metadata.name:
            continue
        wanted, _ = wants.of_pods(pods, context.world.models)
        chosen, decision = context.book.plan(group), context.reports.get(group)
        problem = None
        if decision is not None and not chosen.all_nodes and decision.reason not in ("Warm", "Released"):
            problem = Problem(decision.reason, decision.message)
        planned = _warmth(context, sorted(chosen.all_nodes), wanted)
        name = enrolment.member.name
        if name in reports:  # two lives of one group overlap for a moment; the status' list wants each name once
            name = f"{name}.{group[:6]}"
        reports[name] = GroupReport(name, chosen.domain, planned, problem)
    return [reports[name] for name in sorted(reports)]


def _warmth(context: Context, names: list[str], wanted: tuple[Wanted, ...]) -> tuple[Warmth, ...]:
    world = context.world
    return tuple(
        warmth(name, node=world.nodes.get(name), cache=world.caches.get(name), wanted=wanted) for name in names
    )


async def _write(context: Context, warm_set: WarmSet, found: WarmSetStatus) -> None:
    body = msgspec.to_builtins(msgspec.structs.replace(warm_set, status=found))
    written = await context.client.replace(WARM_SET, body, subresource="status")
    key = (warm_set.metadata.namespace, warm_set.metadata.name)
    context.world.warm_sets[key] = msgspec.convert(written, type=WarmSet)
    before = {c.type: c.status for c in warm_set.status.conditions}
    for condition in found.conditions:
        if before.get(condition.type) != condition.status:
            log.info(
                "warmset.condition", name=f"{key[0]}/{key[1]}", type=condition.type, status=condition.status,
                reason=condition.reason,
            )  # fmt: skip
