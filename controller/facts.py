"""Takes the snapshot of a group out of the controller's memory, for decide.py."""

from __future__ import annotations

from collections.abc import Iterable

from controller import hold, wants
from controller.book import GroupBook
from controller.decide import GroupFacts, NodeFacts
from controller.groups import GroupMember
from controller.pods import Pod, is_gated, is_going, is_terminal, key, node
from controller.quantities import subtract
from controller.warmth import Wanted, warmth
from controller.world import World


def living(world: World, book: GroupBook, group: str) -> tuple[Pod, ...]:
    pods = (world.pods.get(key) for key in book.pods(group))
    return tuple(pod for pod in pods if pod is not None and not is_going(pod) and not is_terminal(pod))


def group_facts(
    world: World, book: GroupBook, group: str, *, max_hold_s: int, only_held: bool = False
) -> GroupFacts | None:
    """The group as it is now; None when none of its pods lives any more.

    ``only_held`` leaves out the nodes that the group neither plans for nor runs on. Since a plan keeps the nodes it
    has as long as they suffice (decide.suffices), a look at those is then as good as one at the whole cluster.
    """
    enrolment, pods = book.enrolment(group), living(world, book, group)
    if enrolment is None or not pods:
        return None
    wanted, problem = wants.of_pods(pods, world.models)
    clocks = [hold.expires(pod, book.enrolments[key(pod)].chain, most_s=max_hold_s) for pod in pods if is_gated(pod)]
    held = book.plan(group).all_nodes
    names = {*held, *map(node, pods)} & world.nodes.keys() if only_held else world.nodes.keys()
    return GroupFacts(
        member=enrolment.member,
        pods=pods,
        nodes=node_facts(world, book, group, wanted, names=names),
        wanted=wanted,
        problem=problem,
        held=held,
        taken_domains=_taken_domains(world, book, enrolment.member),
        expires=min((clock for clock in clocks if clock is not None), default=None),
        roles={key(pod): book.enrolments[key(pod)].member.role for pod in pods},
    )


def node_facts(
    world: World, book: GroupBook, group: str, wanted: tuple[Wanted, ...], *, names: Iterable[str] | None = None
) -> tuple[NodeFacts, ...]:
    """The nodes as the group sees them; all of them where ``names`` is not given."""
    found = []
    for name in sorted(world.nodes if names is None else names):
        view = world.nodes[name]
        reserved = book.reserved(name, besides=group)
        free = world.free(view)
        found.append(
            NodeFacts(
                view=view,
                free=subtract(free, reserved) if reserved else free,
                warmth=warmth(name, node=view, cache=world.caches.get(name), wanted=wanted),
                leaving=world.leaving(name),
            )
        )
    return tuple(found)


def _taken_domains(world: World, book: GroupBook, member: GroupMember) -> frozenset[str]:
    """Domains of other groups of the same workload API that want theirs alone, as far as that API looks."""
    if not member.exclusive:
        return frozenset()
    taken: set[str] = set()
    for group in book.groups():
        enrolment = book.enrolment(group)
        if enrolment is None or group == member.id:
            continue
        other = enrolment.member
        if other.exclusive and _apart(other) == _apart(member):
            bound = [node(pod) for pod in living(world, book, group)]
            names = {name for name in (*bound, *book.plan(group).all_nodes) if name in world.nodes}
            taken |= {world.nodes[name].labels.get(member.topology_key, "") for name in names}
    return frozenset(taken - {""})


def _apart(member: GroupMember) -> tuple[str, str, str]:
    """Exclusive groups for which this is the same share no domain."""
    return member.system, member.exclusive_namespace, member.topology_key
