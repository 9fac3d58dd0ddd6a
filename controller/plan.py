"""The planner: which nodes should hold a group's models. A pure function of a snapshot.

Nodes are taken with the fewest missing bytes first, and the group's pods are packed onto them by their requests.
A plan keeps the nodes it already holds as long as they are fit, so that bytes already pulled are not pulled
elsewhere, and a restart changes nothing. Where the group itself asked to stay within a topology domain, one domain
of that label is chosen. Else a group is kept as near together as the cluster's topology levels allow: in a domain of
the narrowest level that holds it and its spare nodes, at last anywhere. Among domains goes the one with fewest
discouraged nodes, then most held ones, then most spare ones, then the narrowest, then least bytes for its slowest
node, then least bytes in all, then the tightest fit.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter

from controller.fitting import PodShape, Rejection
from controller.nodes import NodeView
from controller.packing import NodeClass, Packed, Packer, Problem, classify, kinds_of, likeness
from controller.quantities import Resources


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node with what is free on it for this group, and what it lacks of the group's models (bytes).

    ``held``: an earlier plan of this group has it. ``unusable``: reason and message why it may not be used whatever
    its fit, such as no agent on it. ``discouraged``: used only after all others. ``places``: its labels of the demand's
    ``levels``, in that order, where they were read beforehand for all: following 5,000 nodes to theirs takes long.
    """

    node: NodeView
    free: Resources
    missing_bytes: int = 0
    held: bool = False
    unusable: Problem | None = None
    discouraged: bool = False
    places: tuple[str | None, ...] = ()
    alike: str = field(init=False, repr=False, compare=False)  # the same for nodes that differ in labels alone
    order: tuple[bool, bool, int, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        node = self.node
        alike = f"{node.ready:d}{node.schedulable:d}{node.taints}{sorted(self.free.items())}{self.unusable}"
        object.__setattr__(self, "alike", sys.intern(alike))
        object.__setattr__(self, "order", (self.discouraged, not self.held, self.missing_bytes, node.name))


@dataclass(frozen=True, slots=True)
class Demand:
    """What a group asks: its pods still to be placed, spare nodes, and the domain it must stay within.

    ``domain`` is fixed where a member already runs; ``taken_domains`` belong to other groups that asked for a
    domain of their own. ``levels`` are labels by which the group should be kept together as far as that goes, widest
    first; they do not count where it named its own ``topology_key``.
    """

    pods: tuple[PodShape, ...]
    spare_nodes: int = 0
    topology_key: str = ""
    domain: str = ""
    taken_domains: frozenset[str] = frozenset()
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """``nodes`` in order of choice, beside them ``spares``; empty when nothing fits, and then ``reason`` says why,
    and ``rejections`` what is the matter with each node.

    ``domain`` is a value of the label ``level``; both are empty where the nodes have nothing in common. ``reserved``
    is what the group's pods will take on each node; other groups' plans count it as gone.
    """

    nodes: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()
    domain: str = ""
    level: str = ""
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
class DomainRejection:
    """A domain that cannot hold the group: ``left_over`` of its pods find no room there."""

    level: str
    domain: str
    usable_nodes: int
    left_over: int


def plan(demand: Demand, candidates: Iterable[Candidate]) -> Plan:
    """The nodes for ``demand``. Deterministic: equal snapshots give equal plans, whatever their order."""
    survey = _survey(demand, candidates)
    most_held = sum([candidate.held for candidate, _ in survey.usable])
    best: tuple[_Cost, str, _Row, Packed] | None = None
    for breadth, level in enumerate(_levels(demand)):
        for domain, row in _domains(demand, level, survey.usable):
            packed = survey.packer.pack(row)
            if packed.left_over:
                continue
            cost = _cost(demand, row, packed, breadth=breadth, domain=domain)
            if best is None or cost < best[0]:
                best = cost, level, row, packed
        if best is not None and best[0][:3] == (0, -most_held, 0):
            break  # wider levels have nothing better
    if best is None:
        return Plan(reason="NoDomainFits", rejections=survey.rejections())
    cost, level, row, packed = best
    nodes = [row[position][0].node.name for position in packed.used]
    return Plan(
        nodes=tuple(nodes),
        spares=tuple(c.node.name for c in _spares(demand, row, packed)),
        domain=cost[-1],
        level=level,
        reserved=dict(zip(nodes, packed.requests, strict=True)),
    )


def explain(demand: Demand, candidates: Iterable[Candidate]) -> tuple[tuple[Rejection, ...], list[DomainRejection]]:
    """Every node that cannot be used, and every domain that cannot hold the group, whether or not a plan was found."""
    survey = _survey(demand, candidates)
    domains = []
    for level in _levels(demand):
        for domain, row in _domains(demand, level, survey.usable):
            left_over = survey.packer.pack(row).left_over
            if left_over and level:
                domains.append(DomainRejection(level, domain, len(row), left_over))
    return survey.rejections(), sorted(domains, key=lambda d: (d.level, d.domain))


_Row = list[tuple[Candidate, NodeClass]]
_Cost = tuple[int, int, int, int, int, int, int, str]


def _cost(demand: Demand, row: _Row, packed: Packed, *, breadth: int, domain: str) -> _Cost:
    nodes = [row[position][0] for position in packed.used]
    missing = [c.missing_bytes for c in nodes]
    return (
        sum([c.discouraged for c in nodes]),
        -sum([c.held for c in nodes]),
        max(0, demand.spare_nodes - len(row) + len(nodes)),
        breadth,
        max(missing, default=0),
        sum(missing),
        len(row),
        domain,
    )


def _spares(demand: Demand, row: _Row, packed: Packed) -> list[Candidate]:
    used = frozenset(packed.used)
    unused = (candidate for position, (candidate, _) in enumerate(row) if position not in used)
    return list(islice(unused, demand.spare_nodes))


@dataclass(frozen=True, slots=True)
class _Survey:
    """All nodes in order of preference, each with its class; ``usable`` are those that could take some of the pods."""

    packer: Packer
    nodes: _Row
    usable: _Row

    def rejections(self) -> tuple[Rejection, ...]:
        return tuple(Rejection(c.node.name, *known.problem) for c, known in self.nodes if known.problem is not None)


def _survey(demand: Demand, candidates: Iterable[Candidate]) -> _Survey:
    kinds = kinds_of(demand.pods)
    ordered = sorted(candidates, key=attrgetter("order"))
    # Thousands of nodes in each of thousands of plans: what is done for each is left to the interpreter's own loops.
    names = list(map(likeness(kinds, also=demand.topology_key), ordered))
    classes = {
        name: classify(kinds, candidate.node, candidate.free, problem=candidate.unusable or _barred(demand, candidate))
        for name, candidate in dict(zip(names, ordered, strict=True)).items()
    }
    nodes = list(zip(ordered, map(classes.__getitem__, names), strict=True))
    usable = [member for member in nodes if member[1].problem is None]
    if len(kinds) > 1:
        for _, known in usable:
            known.nodes += 1
    return _Survey(Packer(kinds, tuple(classes.values())), nodes, usable)


def _levels(demand: Demand) -> tuple[str, ...]:
    """Labels to try, narrowest first; the last, empty one stands for the whole cluster."""
    return (demand.topology_key,) if demand.topology_key else (*reversed(demand.levels), "")


def _domains(demand: Demand, level: str, usable: _Row) -> Iterator[tuple[str, _Row]]:
    """The domains of a level; nodes without its label are in none."""
    if not level:
        yield "", usable
        return
    domains: defaultdict[str | None, _Row] = defaultdict(list)
    if usable and usable[0][0].places and not demand.topology_key:
        at = demand.levels.index(level)
        for member in usable:
            domains[member[0].places[at]].append(member)
    else:
        for member in usable:
            domains[member[0].node.labels.get(level)].append(member)
    for domain, row in domains.items():
        if domain is not None:
            yield domain, row


def _barred(demand: Demand, candidate: Candidate) -> Problem | None:
    """Why the node is out for a group that asked for a domain, whatever its pods ask."""
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
