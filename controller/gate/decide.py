"""What to do about one group, decided from a snapshot of it: wait, plan, release. No effects here.

A group is held while its models' revisions are unknown, while the planned nodes are not warm, and while no node
has a working agent. It is let go, all members in one burst, when enough planned nodes are Ready with the same
trees to take its pods; when no node could run it at all (so that an autoscaler sees its pods); or when the clock
has run out. Once one member is free the group counts as released: members that appear later go on arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.gate.release_patch import Terms
from controller.groups import GroupMember
from controller.groups.parts import absent
from controller.groups.placer import DEFAULT, placer
from controller.kueue.placed import Placed
from controller.models.wanted import Problem, Wanted
from controller.node_caches.warmth import agreeing
from controller.objects.pods import Pod, gates, is_gated, key, node
from controller.planning.candidates import Demand
from controller.planning.fitting import PodShape, shape
from controller.planning.nominations import Nominations, nominate
from controller.planning.planner import Plan, Planner, plan
from controller.planning.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class SharedDomain:
    """One of the label ``key``: its ``value`` where some of the others have it already, else their pods, for which it
    must have room too. ``movable``: they are all held still, and can have another."""

    key: str
    value: str = ""
    others: tuple[PodShape, ...] = ()
    movable: bool = False


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """The snapshot. ``pods`` are the group's living pods, ``roles`` the part of the group that each is one of;
    ``held`` the nodes of its earlier plan, in order. ``levels``: topology labels, widest first. ``placed``: where
    another placer has put it; None where that is ours to choose. ``shared``: domains that it must have in common with
    other parts of its whole. ``spread_key`` and ``crowds``: as in Demand, of the groups of its workload."""

    member: GroupMember
    pods: tuple[Pod, ...]
    nodes: Snapshot
    wanted: tuple[Wanted, ...] = ()
    problem: Problem | None = None
    held: tuple[str, ...] = ()
    taken_domains: frozenset[str] = frozenset()
    expires: datetime | None = None
    roles: Mapping[tuple[str, str], str] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    placed: Placed | None = None
    shared: tuple[SharedDomain, ...] = ()
    spread_key: str = ""
    crowds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """``plan`` is what the NodeCaches should say from now on; ``release`` names the pods to let go with ``terms``, and
    ``nominations`` the node that is proposed to the scheduler for each.

    ``reason`` is Warming, Warm, Released, or the name of what is in the way; ``message`` says it to a person.
    """

    reason: str
    message: str
    plan: Plan = field(default_factory=Plan)
    release: tuple[tuple[str, str], ...] = ()
    terms: Terms = field(default_factory=Terms)
    nominations: Nominations = field(default_factory=dict)


def decide(facts: GroupFacts, *, now: datetime) -> Decision:
    gated = tuple(pod for pod in facts.pods if is_gated(pod))
    if len(gated) < len(facts.pods):
        return _after_release(facts, gated)
    ours_only = tuple(key(pod) for pod in gated if len(gates(pod)) == 1)
    expired = facts.expires is not None and now >= facts.expires
    if facts.problem is not None:
        if expired:
            return _force(facts, ours_only, f"held for long enough; {facts.problem.message}")
        kept = Plan(nodes=facts.held)
        return Decision(facts.problem.reason, facts.problem.message, plan=kept)
    if facts.placed is not None and facts.placed.waits:
        return Decision("NotPlaced", "waits for Kueue to assign nodes that are there", plan=Plan(nodes=facts.held))
    chosen = _plan(facts)
    if not chosen.fits:
        return _nothing_fits(facts, chosen, ours_only, expired=expired)
    warm = _warm_nodes(facts, chosen)
    if warm is not None and ours_only:
        terms = Terms(hostnames=_hostnames(facts, warm), domain=_domain(facts, chosen.domain))
        message = f"{len(warm)} of {len(chosen.all_nodes)} planned nodes are warm and hold all {len(gated)} pods"
        nominated = _nominate(facts, ours_only, sorted(warm, key=chosen.all_nodes.index))
        return Decision("Warm", message, plan=chosen, release=ours_only, terms=terms, nominations=nominated)
    progress = _progress(facts, chosen)
    if expired:
        return replace(_force(facts, ours_only, f"held for long enough; {progress}"), plan=chosen)
    return Decision("Warming", progress, plan=chosen)


def suffices(facts: GroupFacts) -> bool:
    """Whether a plan can be made of the nodes of ``facts`` alone."""
    return _plan(facts).fits


def adopt(facts: GroupFacts) -> Plan:
    """The plan that NodeCaches still hold for the group, with what its pods take on each node: after a restart,
    every group's plan is known before any group is planned anew."""
    held = Planner(facts.candidate(held=True) for facts in facts.nodes.some(facts.held))
    chosen = held.plan(_demand(facts), lenient=True)
    return chosen if chosen.fits else Plan(nodes=facts.held)


def to_place(member: GroupMember, pods: Sequence[Pod], *, roles: Sequence[str]) -> list[PodShape]:
    """The declared number of pods less those that are bound, those not made yet among them. ``roles`` are those of
    ``pods``."""
    unbound = [shape(pod) for pod in pods if not node(pod)]
    for pod, count in absent(member, roles=roles, pods=pods):
        unbound += [shape(pod)] * count
    return unbound


def _demand(facts: GroupFacts) -> Demand:
    within = {domain.key: domain.value for domain in facts.shared if domain.value}
    pods = to_place(facts.member, facts.pods, roles=[facts.roles.get(key(pod), "") for pod in facts.pods])
    return Demand(
        pods=tuple(replace(pod, node_selector={**within, **pod.node_selector}) if within else pod for pod in pods),
        topology_key=facts.member.topology_key,
        domain=_domain_of_bound(facts),
        taken_domains=facts.taken_domains,
        levels=facts.levels,
        spread_key=facts.spread_key,
        crowds=facts.crowds,
    )


def _plan(facts: GroupFacts, *, lenient: bool = False) -> Plan:
    if facts.placed is not None:
        return _plan_placed(facts, facts.placed, lenient=lenient)
    chosen = _plan_beside_others(facts, lenient=lenient)
    if chosen.fits or not any(shared.value and shared.movable for shared in facts.shared):
        return chosen
    # No room where the others are planned, which will follow this one when they are looked at again.
    moved = tuple(replace(shared, value="") if shared.movable else shared for shared in facts.shared)
    anew = _plan_beside_others(replace(facts, shared=moved), lenient=lenient)
    return anew if anew.fits else chosen


def _plan_beside_others(facts: GroupFacts, *, lenient: bool) -> Plan:
    """Within the domains that the others of its whole have, or in some that have room for all of them."""
    own = [node.candidate(held=True) for node in facts.nodes.some(facts.held)]
    planner, settled = facts.nodes.planner, list(facts.shared)
    for index, shared in enumerate(facts.shared):
        if not shared.value:  # the first part of a whole chooses for all
            demand = _demand(replace(facts, shared=tuple(settled)))
            all_pods = replace(demand, pods=demand.pods + shared.others, topology_key=shared.key, domain="")
            found = planner.plan(replace(all_pods, taken_domains=frozenset()), instead=own, lenient=lenient)
            if not found.fits:
                return found
            settled[index] = replace(shared, value=found.domain)
    return planner.plan(_demand(replace(facts, shared=tuple(settled))), instead=own, lenient=lenient)


def _plan_placed(facts: GroupFacts, placed: Placed, *, lenient: bool) -> Plan:
    """Within the nodes that the placer named; on all of them where it named each pod's."""
    planner = Planner(node.candidate(held=node.view.name in facts.held) for node in facts.nodes.some(placed.nodes))
    if not placed.exact:
        return planner.plan(_demand(facts), lenient=lenient)
    # Its node selectors pin pods that exist, and would be those of pods that do not.
    demand = _demand(facts)
    pods = tuple(replace(pod, node_selector={}, required_terms=None) for pod in demand.pods)
    found = planner.plan(replace(demand, pods=pods), lenient=True)
    return Plan(nodes=placed.nodes, reserved=found.reserved)


def _nothing_fits(
    facts: GroupFacts, chosen: Plan, ours_only: tuple[tuple[str, str], ...], *, expired: bool
) -> Decision:
    """Whether the cluster has no room, or only none as it is now: agents are missing, or pods are still going.

    The second heals by itself (every rollout in a full cluster passes through it), so the group keeps nodes for
    then, and those that can be warmed are.
    """
    anyhow = _plan(facts, lenient=True)
    if not anyhow.fits:
        message = (
            f"no nodes can run all {facts.member.size} pods now, so they go to the scheduler as they are: {chosen.why}"
        )
        return Decision("NoDomainFits", message, plan=chosen, release=ours_only)
    if expired:
        return _force(facts, ours_only, f"held for long enough; no usable nodes: {chosen.why}")
    return Decision("NoUsableNodes", f"some nodes that the group needs cannot be used yet: {chosen.why}", plan=anyhow)


def _force(facts: GroupFacts, ours_only: tuple[tuple[str, str], ...], message: str) -> Decision:
    return Decision("HoldExpired", message, plan=Plan(nodes=facts.held), release=ours_only)


def _after_release(facts: GroupFacts, gated: tuple[Pod, ...]) -> Decision:
    """Members that come late follow the others; the plan keeps its nodes until all pods are bound."""
    bound = {node(pod) for pod in facts.pods if node(pod)}
    complete = len(facts.pods) >= facts.member.size and all(node(pod) for pod in facts.pods)
    if complete:
        kept = Plan(nodes=tuple(sorted(bound)))
    elif facts.placed is not None and facts.placed.exact:  # with the node that replaces a failed one
        kept = Plan(nodes=tuple(sorted({*bound, *facts.placed.nodes})))
    else:
        kept = adopt(facts)
    late = tuple(key(pod) for pod in gated if len(gates(pod)) == 1)
    concerned = {*kept.all_nodes, *bound}
    nodes = [node.warmth for node in facts.nodes.some(concerned)]
    warm = tuple(sorted(n.node for n in agreeing(nodes, facts.wanted))) if facts.wanted else ()
    terms = Terms(hostnames=_hostnames(facts, warm), domain=_domain(facts, _domain_of_bound(facts)))
    message = f"{len(bound)} of {facts.member.size} pods are on nodes"
    return Decision("Released", message, plan=kept, release=late, terms=terms, nominations=_nominate(facts, late, warm))


def _warm_nodes(facts: GroupFacts, chosen: Plan) -> tuple[str, ...] | None:
    """The planned nodes that are warm, when they alone can take the group's pods."""
    planned = [node.warmth for node in facts.nodes.some(chosen.all_nodes)]
    warm = sorted(w.node for w in agreeing(planned, facts.wanted))
    if set(warm).issuperset(chosen.nodes):
        return tuple(warm)
    if not warm or (facts.placed is not None and facts.placed.exact):
        return None
    if not plan(_demand(facts), (node.candidate() for node in facts.nodes.some(warm))).fits:
        return None
    return tuple(warm)


def _nominate(facts: GroupFacts, going: Iterable[tuple[str, str]], names: Iterable[str]) -> Nominations:
    """Only the default scheduler is proposed to; where Kueue named each node, its selectors say more."""
    if {placer(pod) for pod in facts.pods} != {DEFAULT}:
        return {}
    chosen = frozenset(going)
    waiting = [pod for pod in facts.pods if not node(pod) and not is_gated(pod)]
    return nominate([pod for pod in facts.pods if key(pod) in chosen], [facts.nodes[n] for n in names], waiting=waiting)


def _hostnames(facts: GroupFacts, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(n.view.hostname for n in facts.nodes.some(names)))


def _domain(facts: GroupFacts, value: str) -> tuple[str, str] | None:
    """Required only where the group asked, and where the scheduler that reads our terms is the default one."""
    placers = {placer(pod) for pod in facts.pods}
    if not facts.member.topology_key or not value or placers != {DEFAULT}:
        return None
    return facts.member.topology_key, value


def _domain_of_bound(facts: GroupFacts) -> str:
    """The domain in which a member already runs, the leader's before others'."""
    if not facts.member.topology_key:
        return ""
    bound = sorted(
        (pod for pod in facts.pods if node(pod)), key=lambda pod: (facts.member.name != key(pod)[1], key(pod))
    )
    nodes = (facts.nodes.get(node(pod)) for pod in bound)
    return next((n.view.labels.get(facts.member.topology_key, "") for n in nodes if n is not None), "")


def _progress(facts: GroupFacts, chosen: Plan) -> str:
    planned = [node.warmth for node in facts.nodes.some(chosen.all_nodes)]
    ready = sum(w.ready for w in planned)
    failures = [f"{w.node}: {w.failure.reason}" for w in planned if w.failure is not None]
    return "; ".join([f"{ready} of {len(planned)} planned nodes are warm", *failures[:3]])
