"""The domains that could hold a group of one kind, each with its nodes in order, its packing and its cost.

What is worked out for a domain is kept until one of its nodes changes. Groups of a workload ask for the same, and a
plan touches the domains of its own few nodes, so that the next group costs those and one look at each domain's cost.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, permutations, takewhile
from operator import itemgetter

from controller.planning.candidates import Candidate, Demand, Problem
from controller.planning.packing import NodeClass, Order, Packed, Packer, kinds_of

MOST_ORDERS = 24  # all of four kinds
MOST_REASONS = 3  # in one line

_Rank = tuple[bool, bool, int, str]  # in which order nodes are wanted; by the name at last, so no two are equal
_Member = tuple[_Rank, Candidate, NodeClass]
_Cost = tuple[int, int, int, int, int, int, int, int, str]


@dataclass(slots=True)
class Domain:
    """The nodes that could take some of the pods, in order; ``worth`` is worked out when asked for."""

    level: str
    name: str
    breadth: int
    members: list[_Member]
    worth: tuple[Order, Packed, _Cost | None] | None = None

    @property
    def nodes(self) -> list[Candidate]:
        return [self.members[position][1] for position in self.packed.used]

    @property
    def packed(self) -> Packed:
        assert self.worth is not None  # noqa: S101 (asked for after ``Domains.worth``)
        return self.worth[1]

    def spares(self, most: int) -> list[Candidate]:
        used = frozenset(self.packed.used)
        unused = (candidate for position, (_, candidate, _) in enumerate(self.members) if position not in used)
        return list(islice(unused, most))


class Domains:
    """For all demands of the same pods, spare nodes, topology key and levels as the one it was made for."""

    def __init__(self, demand: Demand, candidates: Iterable[Candidate]) -> None:
        self._topology_key = demand.topology_key
        self._spare_nodes = demand.spare_nodes
        self._spread_key = demand.spread_key
        # Narrowest first; the last, empty label stands for the whole cluster.
        levels = (demand.topology_key,) if demand.topology_key else (*reversed(demand.levels), "")
        if demand.spread_key and demand.spread_key not in levels and not demand.topology_key:
            levels = (*levels[:-1], demand.spread_key, "")  # after the levels, since nothing says where it lies
        self._packer = Packer(kinds_of(demand.pods))
        self._known: dict[str, _Member] = {}
        self._by_level: list[tuple[str, dict[str, Domain]]] = [(level, {}) for level in levels]
        self._why: tuple[tuple[str, frozenset[str]], str] | None = None
        self._possible = [0] * len(self._packer.kinds)  # nodes for each kind
        for member in sorted(map(self._member, candidates), key=itemgetter(0)):
            self._enter(member, last=True)

    def put(self, candidate: Candidate) -> Candidate | None:
        """Returns what stood in its place."""
        before = self.drop(candidate.node.name)
        self._enter(self._member(candidate))
        return before

    def drop(self, name: str) -> Candidate | None:
        member = self._known.pop(name, None)
        if member is None:
            return None
        rank, candidate, known = member
        self._why = None
        self._count(known, -1)
        if known.problem is None:
            for level, domains in self._by_level:
                value = candidate.node.labels.get(level) if level else ""
                if value is not None:
                    domain = domains[value]
                    del domain.members[bisect_left(domain.members, rank, key=itemgetter(0))]
                    domain.worth = None
                    if not domain.members:
                        del domains[value]
        return candidate

    def best(self, demand: Demand) -> Domain | None:
        """The domain with the least cost of those that hold the group."""
        order = self._order(demand)
        least: _Cost | None = None
        found = None
        for domain in self._open(demand):
            cost = self._crowded(self._worth(domain, order)[2], domain, demand)
            if cost is not None and (least is None or cost < least):
                least, found = cost, domain
        return found

    def too_small(self, demand: Demand) -> Iterator[tuple[Domain, int]]:
        """Domains, the whole cluster left out, that cannot hold the group, with how many pods are left over."""
        order = self._order(demand)
        for domain in self._open(demand):
            left_over = self._worth(domain, order)[1].left_over
            if left_over and domain.level:
                yield domain, left_over

    def problems(self, demand: Demand) -> Iterator[tuple[str, Problem]]:
        """The nodes that could take none of the pods, in order, each with what is the matter."""
        for _, candidate, known in sorted(self._known.values(), key=lambda member: member[0]):
            problem = candidate.unusable or self._barred(demand, candidate) or known.problem
            if problem is not None:
                yield candidate.node.name, problem

    def why(self, demand: Demand) -> str:
        """Why none fits, in one line for a person: problems counted by reason, with one example each.

        Groups that wait for room ask again and again, in a full cluster about every node, so the answer is kept until
        a node changes.
        """
        asked = demand.domain, demand.taken_domains
        if self._why is None or self._why[0] != asked:
            self._why = asked, self._reasons(demand)
        return self._why[1]

    def _reasons(self, demand: Demand) -> str:
        counts: Counter[str] = Counter()
        first: dict[str, tuple[_Rank, str]] = {}  # of each reason, the node that would be wanted most
        for rank, candidate, known in self._known.values():
            problem = candidate.unusable or self._barred(demand, candidate) or known.problem
            if problem is not None:
                reason, message = problem
                counts[reason] += 1
                if reason not in first or rank < first[reason][0]:
                    first[reason] = rank, message
        rest = len(self._known) - counts.total()
        most = sorted(counts, key=lambda reason: (-counts[reason], first[reason][0]))[:MOST_REASONS]
        parts = [f"{counts[name]} nodes {name} (such as {first[name][0][-1]}: {first[name][1]})" for name in most]
        if rest:
            parts.append(f"{rest} nodes could take some of the pods: too few, or too few in one domain")
        return ", ".join(parts) or "the cluster has no nodes"

    def _member(self, candidate: Candidate) -> _Member:
        rank = (candidate.discouraged, not candidate.held, candidate.missing_bytes, candidate.node.name)
        return rank, candidate, self._packer.classify(candidate)

    def _enter(self, member: _Member, *, last: bool = False) -> None:
        """``last``: it comes behind all that are there."""
        _, candidate, known = member
        self._why = None
        self._known[candidate.node.name] = member
        self._count(known, 1)
        if known.problem is not None:
            return
        labels = candidate.node.labels
        for breadth, (level, domains) in enumerate(self._by_level):
            value = labels.get(level) if level else ""
            if value is None:
                continue  # in no domain of this level
            domain = domains.get(value)
            if domain is None:
                domains[value] = Domain(level, value, breadth, [member])
            else:
                domain.members.append(member) if last else insort(domain.members, member)
                domain.worth = None

    def _all(self) -> Iterator[Domain]:
        for _, domains in self._by_level:
            yield from domains.values()

    def _open(self, demand: Demand) -> Iterator[Domain]:
        if not self._topology_key:
            return self._all()
        return (domain for domain in self._all() if demand.bars(domain.name) is None)

    def _count(self, known: NodeClass, change: int) -> None:
        if len(self._possible) > 1:
            self._possible = [n + change * fits for n, fits in zip(self._possible, known.fits, strict=True)]

    def _order(self, demand: Demand) -> Order:
        """In which the kinds are packed: by how many nodes of those that are not barred each could have."""
        if len(self._possible) < 2:
            return tuple(range(len(self._possible)))
        possible = self._possible
        if self._topology_key:
            members = [known.fits for domain in self._open(demand) for _, _, known in domain.members]
            possible = [sum(column) for column in zip(*members, strict=True)] or possible
        return self._packer.hardest_first(possible)

    def _worth(self, domain: Domain, order: Order) -> tuple[Order, Packed, _Cost | None]:
        if domain.worth is None or domain.worth[0] != order:
            packed = self._packer.pack([known for _, _, known in domain.members], order)
            packed = self._kept(domain, packed, order) or packed
            cost = None if packed.left_over else self._cost(domain, packed)
            domain.worth = order, packed, cost
        return domain.worth

    def _kept(self, domain: Domain, packed: Packed, order: Order) -> Packed | None:
        """On the group's own nodes alone, where they can still hold it: they come first in the row, and other nodes
        change in which order kinds go, on which it may hang whether the last pod finds room."""
        own = list(takewhile(lambda member: member[1].held and not member[1].discouraged, domain.members))
        if len(self._possible) < 2 or not own or (not packed.left_over and packed.used[-1] < len(own)):
            return None
        row = [known for _, _, known in own]
        tries = (self._packer.pack(row, other) for other in islice(permutations(order), MOST_ORDERS))
        return next((found for found in tries if not found.left_over), None)

    def _cost(self, domain: Domain, packed: Packed) -> _Cost:
        nodes = [domain.members[position][1] for position in packed.used]
        missing = [c.missing_bytes for c in nodes]
        return (
            sum([c.discouraged for c in nodes]),
            -sum([c.held for c in nodes]),
            0,
            max(0, self._spare_nodes - len(domain.members) + len(nodes)),
            domain.breadth,
            max(missing, default=0),
            sum(missing),
            len(domain.members),
            domain.name,
        )

    def _crowded(self, cost: _Cost | None, domain: Domain, demand: Demand) -> _Cost | None:
        """``cost`` with the groups that the domain's chosen nodes would have for neighbours."""
        if cost is None or not demand.crowds:
            return cost
        values = (candidate.node.labels.get(self._spread_key, "") for candidate in domain.nodes)
        crowd = max((demand.crowds.get(value, 0) for value in values), default=0)
        return *cost[:2], crowd, *cost[3:]

    def _barred(self, demand: Demand, candidate: Candidate) -> Problem | None:
        if not self._topology_key:
            return None
        domain = candidate.node.labels.get(self._topology_key)
        if domain is None:
            return "NoTopologyLabel", f"the node has no label {self._topology_key}"
        return demand.bars(domain)
