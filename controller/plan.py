"""The planner: which nodes should hold a group's models. A pure function of a snapshot.

Nodes are taken with the fewest missing bytes first, and the group's pods are packed onto them by their requests.
A plan keeps the nodes it already holds as long as they are fit, so that bytes already pulled are not pulled
elsewhere, and a restart changes nothing. Where the group itself asked to stay within a topology domain, one domain
is chosen: the one with fewest discouraged nodes, then most held ones, then least bytes for its slowest node, then
least bytes in all, then the tightest fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controller.fitting import PodShape, Rejection, misfit, shortage
from controller.nodes import NodeView
from controller.quantities import Resources, add, subtract

MANY = 1 << 31  # as many as come: pods that ask for nothing


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node with what is free on it for this group, and what it lacks of the group's models (bytes).

    ``held``: an earlier plan of this group has it. ``unusable``: reason and message why it may not be used whatever
    its fit, such as no agent on it. ``discouraged``: used only after all others.
    """

    node: NodeView
    free: Resources
    missing_bytes: int = 0
    held: bool = False
    unusable: tuple[str, str] | None = None
    discouraged: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """What a group asks: its pods still to be placed, spare nodes, and the domain it must stay within.

    ``domain`` is fixed where a member already runs; ``taken_domains`` belong to other groups that asked for a
    domain of their own.
    """

    pods: tuple[PodShape, ...]
    spare_nodes: int = 0
    topology_key: str = ""
    domain: str = ""
    taken_domains: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """``nodes`` in order of choice, beside them ``spares``; empty when nothing fits, and then ``reason`` says why.

    ``reserved`` is what the group's pods will take on each node; other groups' plans count it as gone.
    """

    nodes: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()
    domain: str = ""
    reason: str = ""
    rejections: tuple[Rejection, ...] = ()
    reserved: Mapping[str, Resources] = field(default_factory=dict)

    @property
    def all_nodes(self) -> tuple[str, ...]:
        return self.nodes + self.spares

    @property
    def fits(self) -> bool:
        return not self.reason


@dataclass(frozen=True, slots=True)
class _Choice:
    nodes: tuple[Candidate, ...]
    spares: tuple[Candidate, ...]
    reserved: Mapping[str, Resources]
    domain: str
    size: int  # usable nodes of the domain: the smaller, the tighter the fit

    def cost(self) -> tuple[int, int, int, int, int, str]:
        missing = [c.missing_bytes for c in self.nodes]
        return (
            sum(c.discouraged for c in self.nodes),
            -sum(c.held for c in self.nodes),
            max(missing, default=0),
            sum(missing),
            self.size,
            self.domain,
        )


def plan(demand: Demand, candidates: Iterable[Candidate]) -> Plan:
    """The nodes for ``demand``. Deterministic: equal snapshots give equal plans, whatever their order."""
    rejections: list[Rejection] = []
    usable: list[Candidate] = []
    kinds = [_Kind(pod=pod, count=demand.pods.count(pod)) for pod in _distinct(demand.pods)]
    for candidate in sorted(candidates, key=_preference):
        problem = _barred(demand, candidate) or _fit_kinds(kinds, candidate)
        if problem is None:
            usable.append(candidate)
        else:
            rejections.append(Rejection(candidate.node.name, *problem))
    kinds.sort(key=_Kind.difficulty)
    choices = []
    for domain, members in _domains(demand, usable).items():
        packed = _pack(kinds, members)
        if packed is not None:
            chosen, others, reserved = packed
            spares = others[: demand.spare_nodes]
            choices.append(_Choice(nodes=chosen, spares=spares, reserved=reserved, domain=domain, size=len(members)))
    if not choices:
        return Plan(reason="NoDomainFits", rejections=tuple(rejections))
    best = min(choices, key=_Choice.cost)
    return Plan(
        nodes=tuple(c.node.name for c in best.nodes),
        spares=tuple(c.node.name for c in best.spares),
        domain=best.domain,
        rejections=tuple(rejections),
        reserved=best.reserved,
    )


@dataclass(slots=True)
class _Kind:
    """Pods of one shape; ``fits`` names the nodes that could take at least one of them."""

    pod: PodShape
    count: int
    fits: set[str] = field(default_factory=set)

    def difficulty(self) -> tuple[int, int, int, int]:
        """Sorts the pods with the fewest possible nodes first, then the largest."""
        asked = self.pod.requests
        extended = sum(amount for name, amount in asked.items() if "/" in name)
        return len(self.fits), -extended, -asked.get("memory", 0), -asked.get("cpu", 0)


def _preference(candidate: Candidate) -> tuple[bool, bool, int, str]:
    return candidate.discouraged, not candidate.held, candidate.missing_bytes, candidate.node.name


def _barred(demand: Demand, candidate: Candidate) -> tuple[str, str] | None:
    """Why the node is out for the whole group, whatever its pods ask."""
    if candidate.unusable is not None:
        return candidate.unusable
    if not demand.topology_key:
        return None
    domain = candidate.node.labels.get(demand.topology_key)
    if domain is None:
        return "NoTopologyLabel", f"the node has no label {demand.topology_key}"
    if demand.domain and domain != demand.domain:
        return "OtherDomain", f"the group runs in {demand.topology_key}={demand.domain}"
    if domain in demand.taken_domains:
        return "DomainTaken", f"{demand.topology_key}={domain} belongs to another group"
    return None


def _fit_kinds(kinds: Sequence[_Kind], candidate: Candidate) -> tuple[str, str] | None:
    """Note which kinds the node can take; the last problem when it can take none."""
    problem = None
    fits = False
    for kind in kinds:
        found = misfit(kind.pod, candidate.node) or shortage(kind.pod, candidate.free)
        if found is None:
            kind.fits.add(candidate.node.name)
            fits = True
        problem = found or problem
    return None if fits or not kinds else problem


def _distinct(pods: Sequence[PodShape]) -> list[PodShape]:
    """Groups have one or two shapes, however many pods."""
    found: list[PodShape] = []
    for pod in pods:
        if pod not in found:
            found.append(pod)
    return found


def _domains(demand: Demand, usable: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    if not demand.topology_key:
        return {"": list(usable)}
    domains: dict[str, list[Candidate]] = {}
    for candidate in usable:
        domains.setdefault(candidate.node.labels[demand.topology_key], []).append(candidate)
    return domains


_Packed = tuple[tuple[Candidate, ...], tuple[Candidate, ...], dict[str, Resources]]  # used, unused, what is taken


def _pack(kinds: Sequence[_Kind], members: Sequence[Candidate]) -> _Packed | None:
    """First fit over ``members`` in order of preference; None when a pod is left over."""
    left = [kind.count for kind in kinds]
    chosen: list[Candidate] = []
    others: list[Candidate] = []
    reserved: dict[str, Resources] = {}
    for candidate in members:
        taken = _fill(kinds, left, candidate)
        left = [count - n for count, n in zip(left, taken, strict=True)]
        if any(taken):
            chosen.append(candidate)
            reserved[candidate.node.name] = add(_times(k.pod.requests, n) for k, n in zip(kinds, taken, strict=True))
        else:
            others.append(candidate)
    return None if any(left) else (tuple(chosen), tuple(others), reserved)


def _fill(kinds: Sequence[_Kind], left: Sequence[int], candidate: Candidate) -> list[int]:
    """How many pods of each kind the node takes."""
    free = candidate.free
    alone = False  # a pod that keeps its like away is on the node
    taken = []
    for kind, count in zip(kinds, left, strict=True):
        most = min(count, _room(free, kind.pod.requests)) if count and candidate.node.name in kind.fits else 0
        if kind.pod.one_per_node:
            most = 0 if alone else min(most, 1)
            alone = alone or bool(most)
        if most:
            free = subtract(free, _times(kind.pod.requests, most))
        taken.append(most)
    return taken


def _room(free: Resources, asked: Resources) -> int:
    return min((max(0, free.get(name, 0)) // amount for name, amount in asked.items()), default=MANY)


def _times(amounts: Resources, n: int) -> dict[str, int]:
    return {name: amount * n for name, amount in amounts.items()}
