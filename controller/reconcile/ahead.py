"""A workload's next groups, warmed before their pods exist; and its WarmSet's list of models kept true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from api.errors import WarmsetError
from api.resources import WarmSet
from controller.admission import generated
from controller.cluster.roster import Enrolment
from controller.groups import Owner
from controller.groups.templates import Expected
from controller.models import permitted
from controller.models.requests import Request, requests
from controller.models.wanted import Wanted
from controller.node_caches.quotas import too_large
from controller.objects.pods import Pod, models, node
from controller.objects.quantities import Resources, add, pod_requests
from controller.planning.planner import Plan
from controller.reconcile.context import Context
from controller.reconcile.reports import refused_on, warmth_on, workload_groups
from controller.warm_sets.ahead import Present, groups_ahead, is_stale, maker, plan_ahead, shares
from controller.warm_sets.group_placement import placed_groups
from controller.warm_sets.status import GroupReport

LOOK_S = 60.0  # owners are not watched: a rollout whose pods do not show it is noticed within this

_Groups = Sequence[tuple[str, Enrolment, tuple[Pod, ...]]]


async def look_ahead(context: Context, warm_set: WarmSet) -> list[GroupReport]:
    """Plan the groups that come next. Raises ApiError or ClusterUnavailable."""
    workload, namespace = warm_set.spec.placement.workload, warm_set.metadata.namespace
    assert workload is not None  # noqa: S101 (asked by the caller)
    groups = list(workload_groups(context, warm_set))
    source = maker(workload, [enrolment.chain for _, enrolment, _ in groups])
    kinds = () if source is None else await context.owners.expected(source, namespace=namespace)
    asked = [request for kind in kinds for request in _asked(kind, namespace)]
    await _make_models(context, warm_set, asked)
    await _keep_models(context, warm_set, asked, groups)
    ahead: dict[str, tuple[Plan, tuple[Wanted, ...]]] = {}
    taken: dict[str, Resources] = {}
    for kind, ids in shares(placed_groups(warm_set), kinds):
        wanted = _wanted(context, kind, namespace)
        if wanted:
            present = [_present(context, *group, kind, wanted) for group in groups if group[1].member.kind == kind.kind]
            count = groups_ahead(kind, present, keep_warm=workload.keep_warm_groups)
            plans = plan_ahead(
                kind,
                context.snapshots.all("", wanted).planner.candidates,
                present=present,
                held=[context.roster.plan(group).all_nodes for group in ids[:count]],
                levels=context.snapshots.levels,
                taken=taken,
            )
            for group, plan in zip(ids, plans, strict=False):
                if plan.fits:
                    ahead[group] = plan, wanted
                    taken |= {name: add((taken.get(name, {}), amount)) for name, amount in plan.reserved.items()}
    return _settle(context, warm_set, ahead)


def _wanted(context: Context, kind: Expected, namespace: str) -> tuple[Wanted, ...]:
    """What the kind's groups will mount; nothing where that cannot be had now."""
    names = {request.model for request in _asked(kind, namespace)}
    wanted, problem = permitted.of_names(names, namespace=namespace, known=context.world.models)
    return () if problem is not None or too_large(namespace, wanted, context.config.quotas) else wanted


def _settle(
    context: Context, warm_set: WarmSet, ahead: Mapping[str, tuple[Plan, tuple[Wanted, ...]]]
) -> list[GroupReport]:
    """Nothing is reserved for these groups: pods that exist go first."""
    reports = []
    for index, group in enumerate(placed_groups(warm_set)):
        chosen, wanted = ahead.get(group, (None, ()))
        for name in context.roster.set_plan(group, None if chosen is None else replace(chosen, reserved={})):
            context.node(name)
        if chosen is None:
            context.roster.ahead.pop(group, None)
            continue
        context.roster.ahead[group] = wanted
        nodes = warmth_on(context, sorted(chosen.all_nodes), wanted)
        refused = refused_on(context, nodes, wanted)
        reports.append(GroupReport(f"ahead-{index}", chosen.domain, nodes, refused=refused))
    return reports


def _asked(kind: Expected, namespace: str) -> list[Request]:
    """What the templates of these groups ask for."""
    try:
        return [request for pod in kind.pods for request in requests(pod, namespace=namespace)]
    except WarmsetError:
        return []  # its pods are refused with the reason


async def _make_models(context: Context, warm_set: WarmSet, asked: Sequence[Request]) -> None:
    """Those of bare references, which else would be made with the first pod."""
    workload = warm_set.spec.placement.workload
    for owner in warm_set.metadata.owner_references:
        if workload is not None and (owner.kind, owner.name) == (workload.kind, workload.name):
            top = Owner(api_version=owner.api_version, kind=owner.kind, name=owner.name, uid=owner.uid)
            await generated.ensure_bare(context.client, context.world, asked, top=top)


async def _keep_models(context: Context, warm_set: WarmSet, asked: Sequence[Request], groups: _Groups) -> None:
    """The list names what pods mount and the template asks for, and nothing that neither does any more."""
    mounted = {mount.model for _, _, pods in groups for pod in pods for mount in models(pod)}
    used = {generated.within(model, warm_set.metadata.namespace) for model in (*mounted, *(r.model for r in asked))}
    known = warm_set.spec.models
    if used and used != set(known):
        kept = [name for name in known if name in used]
        await generated.set_models(context.client, warm_set, [*kept, *sorted(used.difference(kept))])


def _present(
    context: Context,
    group: str,
    enrolment: Enrolment,
    pods: tuple[Pod, ...],
    expected: Expected,
    wanted: tuple[Wanted, ...],
) -> Present:
    mounted, problem = permitted.of_pods(pods, context.world.models)
    stale = problem is None and is_stale(mounted, wanted, expected)
    taken: dict[str, Resources] = dict(context.roster.plan(group).reserved)
    for name in {node(pod) for pod in pods} - {""}:
        taken[name] = add(pod_requests(pod["spec"]) for pod in pods if node(pod) == name)
    return Present(enrolment.member.name, stale, taken)
