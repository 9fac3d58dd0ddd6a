"""A group: planned, held and let go as gate/decide.py says."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from controller.cluster.roster import Enrolment
from controller.gate.composites import PARTS_WARMING, is_settled, together
from controller.gate.decide import Decision, GroupFacts, decide, suffices
from controller.gate.gather import group_facts
from controller.gate.pod_condition import write_conditions
from controller.gate.release import release
from controller.gate.stranded import AGAIN, stranded
from controller.objects.durations import parse_time
from controller.objects.pods import is_gated, key, node, uid
from controller.reconcile.context import Context, Work
from controller.reconcile.pods import look_again
from kube.resources import POD

RESYNC_S = 10.0  # of a held group: other pods may have taken its nodes meanwhile

log = structlog.get_logger()


async def reconcile(context: Context, work: Work) -> float | None:
    group, now = work.name, datetime.now(UTC)
    if group in context.world.placed:
        return None  # planned by its WarmSet, no pods belong to it
    enrolment = context.roster.enrolment(group)
    facts = _look(context, group)
    if facts is None or enrolment is None:
        _touch(context, group, context.roster.set_plan(group, None), enrolment)
        context.reports.pop(group, None)
        return None
    others = _others(context, group, enrolment.member.whole)
    decision = together(decide(facts, now=now), (context.reports.get(other) for other in others))
    changed = context.roster.set_plan(group, decision.plan)
    if changed or (is_settled(decision) and not is_settled(context.reports.get(group))):
        for other in others:  # they stay within one domain, and wait for each other
            context.group(other)
    context.reports[group] = decision
    # Its plan's nodes too where the plan is the same: a revision may have become known.
    _touch(context, group, changed.union(decision.plan.all_nodes, filter(None, map(node, facts.pods))), enrolment)
    if decision.release:
        await _let_go(context, facts, decision, now=now)
    await _say(context, facts, decision)
    await write_conditions(context.client, facts, decision, now=now)
    if decision.reason == "Released":
        return await _free_stranded(context, facts, enrolment, now=now)
    held = any(is_gated(pod) and key(pod) not in decision.release for pod in facts.pods)
    if not held:
        return None
    look_again(context, group)  # its owner may have been scaled meanwhile, which need not touch a pod
    left_s = (facts.expires - now).total_seconds() if facts.expires else RESYNC_S
    return max(0.05, min(RESYNC_S, left_s))


def _others(context: Context, group: str, whole: str) -> list[str]:
    """The other parts of the whole that it is part of, if it is of one."""
    if not whole:
        return []
    enrolments = ((other, context.roster.enrolment(other)) for other in context.roster.groups())
    return [other for other, found in enrolments if found and found.member.whole == whole and other != group]


def _look(context: Context, group: str) -> GroupFacts | None:
    """At the group's own nodes where they suffice, which is nearly always; else at all."""
    limits = context.config.hold_limits
    if context.roster.plan(group).nodes:
        facts = group_facts(context.snapshots, group, limits=limits, only_held=True)
        if facts is None or suffices(facts):
            return facts
    return group_facts(context.snapshots, group, limits=limits)


async def _let_go(context: Context, facts: GroupFacts, decision: Decision, *, now: datetime) -> None:
    going = [pod for pod in facts.pods if key(pod) in decision.release]
    await release(context.client, going, decision.terms, nominations=decision.nominations)
    log.info(
        "group.released",
        group=f"{facts.member.namespace}/{facts.member.name}",
        pods=len(going),
        reason=decision.reason,
        prefers=list(decision.terms.hostnames),
    )
    for pod in going:
        held_s = (now - parse_time(pod["metadata"]["creationTimestamp"])).total_seconds()
        context.metrics.holds.labels(reason=decision.reason).observe(max(0.0, held_s))


async def _free_stranded(context: Context, facts: GroupFacts, enrolment: Enrolment, *, now: datetime) -> float | None:
    """Delete pods that our term keeps from being scheduled; look again while some wait for the scheduler."""
    name = f"{facts.member.system}/{facts.member.namespace}/{facts.member.key}"
    last = context.freed.get(name)
    if last is None or now - last >= AGAIN:
        for pod in stranded(facts.pods, enrolment, now=now):
            namespace, pod_name = key(pod)
            context.freed[name] = now
            message = "deleted, to be planned again: its group's domain was filled before it could be scheduled"
            about = {"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]}
            await context.events.say(about, reason="Stranded", message=message, action="Delete", kind="Warning")
            log.warning("pod.stranded", pod=f"{namespace}/{pod_name}")
            await context.client.delete(POD, pod_name, namespace=namespace, uid=uid(pod))
    return RESYNC_S if any(not node(pod) for pod in facts.pods) else None


async def _say(context: Context, facts: GroupFacts, decision: Decision) -> None:
    """On the leader, or the first pod: said once for a group, where a person looks first."""
    if decision.reason == "Released" or not facts.pods:
        return
    first = min(facts.pods, key=lambda pod: (key(pod)[1] != facts.member.name, key(pod)))
    about = {"apiVersion": "v1", "kind": "Pod", "metadata": first["metadata"]}
    if decision.reason == "Warming":
        if decision.plan.nodes:
            nodes = ", ".join(sorted(decision.plan.all_nodes)[:8])
            message = f"warming {len(decision.plan.all_nodes)} nodes for {facts.member.size} pods: {nodes}"
            await context.events.say(about, reason="Planned", message=message, action="Plan")
        return
    await context.events.say(
        about,
        reason=decision.reason,
        message=decision.message,
        action="Release" if decision.release else "Hold",
        kind="Normal" if decision.reason in ("Warm", "ModelNotResolved", PARTS_WARMING) else "Warning",
    )


def _touch(context: Context, group: str, nodes: frozenset[str], enrolment: Enrolment | None) -> None:
    for name in nodes:
        context.node(name)
    if enrolment is not None:
        context.warm_set(*enrolment.warm_set)
