"""A pod: enrolled into its group, and what is made for it made sure of. The group's own work follows."""

from __future__ import annotations

from controller.admission import generated
from controller.cluster.owners import FRESH_S, top
from controller.cluster.roster import Enrolment
from controller.groups import resolve
from controller.objects.pods import Pod, is_going, node
from controller.reconcile.context import Context, Work

LOOK_AGAIN_S = FRESH_S + 5.0


async def reconcile(context: Context, work: Work) -> float | None:
    key = (work.namespace, work.name)
    pod = context.world.pods.get(key)
    if pod is None or is_going(pod):
        left = context.roster.withdraw(key)
        if left is not None:
            context.group(left)
            look_again(context, left)
        return None
    enrolment = await enrol(context, pod)
    await generated.ensure_models(context.client, context.world, pod, top=enrolment.top)
    await generated.ensure_warm_set(context.client, context.world, pod, top=enrolment.top)
    return None


def look_again(context: Context, group: str) -> None:
    """The group may be smaller or larger from now on: scaled, or done in part. The pod that speaks for it is enrolled
    anew, when its owner has counted and what we remember of it is old."""
    enrolments = context.roster.enrolments
    others = context.roster.pods(group)
    if others:
        speaker = min(others, key=lambda other: not enrolments[other].member.leader)
        context.queues.main.add_later(Work("pod", *speaker), LOOK_AGAIN_S)


async def enrol(context: Context, pod: Pod) -> Enrolment:
    """Find the pod's group and remember it. Raises ApiError or ClusterUnavailable."""
    chain = await context.owners.chain(pod)
    member = resolve(pod, owners=chain, gang=await context.owners.gang(pod))
    enrolment = Enrolment(member=member, chain=chain, top=top(pod, chain))
    left = context.roster.enrol((pod["metadata"]["namespace"], pod["metadata"]["name"]), enrolment)
    for group in (left, enrolment.member.id):
        if group is not None:
            context.group(group)
    if node(pod):
        context.node(node(pod))
    return enrolment
