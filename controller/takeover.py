"""Taking the lead: groups and plans as they are in the cluster, before any new decision is made."""

from __future__ import annotations

import asyncio
import gc

import structlog

from api.errors import ClusterUnavailable
from controller.gate.decide import adopt
from controller.gate.gather import group_facts
from controller.node_caches.desires import groups_held
from controller.planning.planner import Plan
from controller.reconcile.context import Context
from controller.reconcile.pods import enrol
from kube.client import ApiError

_AT_ONCE = 16  # requests for owners

_ALLOCATIONS = 50_000  # between looks for cyclic garbage

log = structlog.get_logger()


def spare_collector() -> None:
    """Call when the cluster has been read. What was read stays for long, and each plan makes thousands of short-lived
    objects: by default the collector walks through the whole cluster every few plans, which takes half of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)


async def take_over(context: Context) -> None:
    """Enrol all pods, then read every group's plan back from the NodeCaches."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(pod: dict[str, object]) -> None:
        async with slots:
            try:
                await enrol(context, pod)
            except (ApiError, ClusterUnavailable) as error:
                log.warning("pod.not_enrolled", error=str(error))  # its own key tries again

    await asyncio.gather(*(one(pod) for pod in tuple(context.world.pods.values())))
    held: dict[str, list[str]] = {}
    for name, cache in sorted(context.world.caches.items()):
        for group in groups_held(cache.spec):
            held.setdefault(group, []).append(name)
    for group, nodes in held.items():
        context.roster.set_plan(group, Plan(nodes=tuple(nodes)))
    for group in held:
        facts = group_facts(
            context.snapshots,
            group,
            limits=context.config.hold_limits,
            only_held=True,
        )
        if facts is not None:
            context.roster.set_plan(group, adopt(facts))
        elif group not in context.world.placed:
            context.roster.set_plan(group, None)  # its pods went while nobody led
    log.info("plans.adopted", groups=len(held), pods=len(context.roster.enrolments))
