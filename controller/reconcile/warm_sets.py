"""A WarmSet: its own groups planned, its nodes' caches told, its status written."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import msgspec
import structlog

from api.resources import WarmSet, WarmSetStatus
from controller.models import permitted
from controller.models.wanted import Wanted
from controller.node_caches.quotas import too_large
from controller.objects.resources import WARM_SET
from controller.reconcile import ahead, images, reports
from controller.reconcile.context import Context, Work
from controller.warm_sets import retention
from controller.warm_sets.cooling import is_cooled
from controller.warm_sets.eta import eta, observe
from controller.warm_sets.group_placement import placed_groups
from controller.warm_sets.status import GroupReport, status

log = structlog.get_logger()


async def reconcile(context: Context, work: Work) -> float | None:
    key, now = (work.namespace, work.name), datetime.now(UTC)
    warm_set = context.world.warm_sets.get(key)
    if warm_set is None or warm_set.metadata.deletion_timestamp:
        context.paces.pop(key, None)
        return None  # watching.py has told the nodes
    wanted, problem = permitted.of_warm_set(warm_set, context.world.models)
    problem = problem or too_large(work.namespace, wanted, context.config.quotas)
    used = retention.last_used(warm_set, context.world.mounting(), now=now)
    end = retention.expires(warm_set, used)
    given_up = "Cooled" if is_cooled(warm_set) else retention.EXPIRED if end is not None and now >= end else ""
    found = await _reports(context, warm_set, wanted, given_up=given_up, now=now)
    if problem is not None:
        found = [dataclasses.replace(report, problem=report.problem or problem) for report in found]
    nodes = [node for report in found for node in report.nodes]
    for node in nodes:
        context.node(node.node)
    progress = None if given_up else await images.pull(context, warm_set, [node.node for node in nodes])
    context.paces[key] = observe(context.paces.get(key, {}), nodes, now=now)
    after = status(
        warm_set,
        found,
        bytes_total=sum(w.bytes for w in wanted),
        now=now,
        given_up=given_up,
        eta=eta(context.paces[key], nodes),
        last_used=used,
        images=progress,
    )
    if after != warm_set.status:
        await _write(context, warm_set, after)
    if progress is not None and progress.there < progress.wanted:
        return images.LOOK_S
    if end is not None:
        left_s = (end - now).total_seconds()
        return min(retention.LOOK_S, left_s) if left_s > 0 else retention.LOOK_S
    return ahead.LOOK_S if warm_set.spec.placement.workload is not None else None


async def _reports(
    context: Context, warm_set: WarmSet, wanted: tuple[Wanted, ...], *, given_up: str, now: datetime
) -> list[GroupReport]:
    placement = warm_set.spec.placement
    if given_up:
        _release(context, warm_set)
        return reports.of_holders(context, wanted)
    if placement.groups is not None:
        return reports.of_groups(context, warm_set, wanted, now=now)
    if placement.workload is not None:
        return [*reports.of_workload(context, warm_set, now=now), *await ahead.look_ahead(context, warm_set)]
    return reports.of_nodes(context, placement, wanted)


def _release(context: Context, warm_set: WarmSet) -> None:
    """End the plans of groups that it no longer asks for."""
    for group in placed_groups(warm_set):
        for name in context.roster.set_plan(group, None):
            context.node(name)


async def _write(context: Context, warm_set: WarmSet, found: WarmSetStatus) -> None:
    body = msgspec.to_builtins(msgspec.structs.replace(warm_set, status=found))
    written = await context.client.replace(WARM_SET, body, subresource="status")
    key = (warm_set.metadata.namespace, warm_set.metadata.name)
    asked = retention.asks(warm_set)
    context.world.on_warm_set(key, written)
    if retention.asks(context.world.warm_sets[key]) != asked:
        for name in context.world.nodes:  # those it selects
            context.node(name)
    before = {c.type: c.status for c in warm_set.status.conditions}
    for condition in found.conditions:
        if before.get(condition.type) != condition.status:
            log.info(
                "warmset.condition", name=f"{key[0]}/{key[1]}", type=condition.type, status=condition.status,
                reason=condition.reason,
            )  # fmt: skip
