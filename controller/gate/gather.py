"""Takes the snapshot of a group out of the controller's memory, for gate.decide."""

from __future__ import annotations

from collections.abc import Mapping

from controller.cluster.roster import Enrolment, Roster
from controller.cluster.snapshots import Snapshots
from controller.cluster.world import World
from controller.config import HoldLimits
from controller.gate import hold
from controller.gate.decide import GroupFacts, SharedDomain, to_place
from controller.groups import GroupMember
from controller.kueue.placed import placed
from controller.models import permitted
from controller.node_caches.quotas import too_large
from controller.objects.pods import Pod, is_gated, is_going, is_terminal, key, node, spread_key
from controller.planning.candidates import crowds
from controller.planning.fitting import PodShape


def living(world: World, roster: Roster, group: str) -> tuple[Pod, ...]:
    pods = (world.pods.get(key) for key in roster.pods(group))
    return tuple(pod for pod in pods if pod is not None and not is_going(pod) and not is_terminal(pod))


def group_facts(snapshots: Snapshots, group: str, *, limits: HoldLimits, only_held: bool = False) -> GroupFacts | None:
    """The group as it is now; None when none of its pods lives any more.

    ``only_held`` leaves out the nodes that the group neither plans for nor runs on. Since a plan keeps the nodes it
    has as long as they suffice (decide.suffices), a look at those is then as good as one at the whole cluster.
    """
    world, roster = snapshots.world, snapshots.roster
    enrolment, pods = roster.enrolment(group), living(world, roster, group)
    if enrolment is None or not pods:
        return None
    wanted, problem = permitted.of_pods(pods, world.models)
    problem = problem or too_large(enrolment.member.namespace, wanted, snapshots.quotas)
    clocks = [hold.expires(pod, roster.enrolments[key(pod)].chain, limits=limits) for pod in pods if is_gated(pod)]
    held = roster.plan(group).all_nodes
    where = placed(enrolment.member, pods, workloads=world.workloads, nodes=world.nodes)
    spread = spread_key(pods)
    seen = {*held, *map(node, pods), *(where.nodes if where else ())}
    return GroupFacts(
        member=enrolment.member,
        pods=pods,
        nodes=snapshots.some(group, wanted, seen) if only_held else snapshots.all(group, wanted),
        wanted=wanted,
        problem=problem,
        held=held,
        levels=snapshots.levels,
        placed=where,
        spread_key=spread,
        crowds=_crowds(world, roster, enrolment, spread) if spread and not only_held else {},
        shared=_shared(world, roster, enrolment.member),
        taken_domains=_taken_domains(world, roster, enrolment.member),
        expires=min((clock for clock in clocks if clock is not None), default=None),
        roles={key(pod): roster.enrolments[key(pod)].member.role for pod in pods},
    )


def _crowds(world: World, roster: Roster, enrolment: Enrolment, spread: str) -> Mapping[str, int]:
    """Of the workload's other groups of the same kind."""
    found = []
    for group in roster.groups_of(enrolment.warm_set):
        other = roster.enrolment(group)
        if other is not None and group != enrolment.member.id and other.member.kind == enrolment.member.kind:
            bound = (node(pod) for pod in living(world, roster, group))
            found.append({*bound, *roster.plan(group).all_nodes})
    return crowds(found, key=spread, nodes=world.nodes)


def _shared(world: World, roster: Roster, member: GroupMember) -> tuple[SharedDomain, ...]:
    """Domains that the wholes that it is part of asked to stay within, widest first."""
    return tuple(_shared_by(world, roster, member, whole, level) for whole, level in reversed(member.within))


def _shared_by(world: World, roster: Roster, member: GroupMember, whole: str, level: str) -> SharedDomain:
    others: list[PodShape] = []
    planned: set[str] = set()
    settled: set[str] = set()  # of parts of which pods were let go
    for group in roster.groups():
        enrolment = roster.enrolment(group)
        if enrolment is None or group == member.id or (whole, level) not in enrolment.member.within:
            continue
        pods = living(world, roster, group)
        names = [*filter(None, map(node, pods)), *roster.plan(group).all_nodes]
        values = {world.nodes[name].labels.get(level, "") for name in names if name in world.nodes} - {""}
        (planned if all(map(is_gated, pods)) else settled).update(values)
        others += to_place(enrolment.member, pods, roles=[roster.enrolments[key(pod)].member.role for pod in pods])
    value = min(settled or planned, default="")
    return SharedDomain(level, value=value, others=tuple(others), movable=not settled)


def _taken_domains(world: World, roster: Roster, member: GroupMember) -> frozenset[str]:
    """Domains of other groups of the same workload API that want theirs alone, as far as that API looks."""
    if not member.exclusive:
        return frozenset()
    taken: set[str] = set()
    for group in roster.groups():
        enrolment = roster.enrolment(group)
        if enrolment is None or group == member.id:
            continue
        other = enrolment.member
        if other.exclusive and _apart(other) == _apart(member):
            bound = [node(pod) for pod in living(world, roster, group)]
            names = {name for name in (*bound, *roster.plan(group).all_nodes) if name in world.nodes}
            taken |= {world.nodes[name].labels.get(member.topology_key, "") for name in names}
    return frozenset(taken - {""})


def _apart(member: GroupMember) -> tuple[str, str, str]:
    """Exclusive groups for which this is the same share no domain."""
    return member.system, member.exclusive_namespace, member.topology_key
