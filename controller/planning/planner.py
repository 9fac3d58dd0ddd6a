"""The planner: which nodes should hold a group's models. A pure function of a snapshot.

Nodes are taken with the fewest missing bytes first, and the group's pods are packed onto them by their requests.
A plan keeps the nodes it already holds as long as they are fit, so that bytes already pulled are not pulled
elsewhere, and a restart changes nothing. Where the group itself asked to stay within a topology domain, one domain
of that label is chosen. Else a group is kept as near together as the cluster's topology levels allow: in a domain of
the narrowest level that holds it and its spare nodes, at last anywhere. Among domains goes the one with fewest
discouraged nodes, then most held ones, then fewest groups that it should be spread from, then most spare nodes, then
the narrowest, then least bytes for its slowest node, then least bytes in all, then the tightest fit.

A ``Planner`` remembers what it has worked out between one group and the next. It gives the plans that one made anew
from its candidates would give.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from controller.objects.quantities import Resources, add
from controller.planning.candidates import Candidate, Demand
from controller.planning.domains import Domains
from controller.planning.fitting import Rejection
from controller.planning.packing import kinds_of

MOST_DEMANDS = 4  # of different shape that are remembered; each takes 1.5 MiB with 5,000 nodes in three levels


@dataclass(frozen=True, slots=True)
class Plan:
    """``nodes`` in order of choice, beside them ``spares``; empty when nothing fits, and then ``reason`` names why, and
    ``why`` says it to a person (not of a lenient plan).

    ``domain`` is a value of the label ``level``; both are empty where the nodes have nothing in common. ``reserved``
    is what the group's pods will take on each node; other groups' plans count it as gone.
    """

    nodes: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()
    domain: str = ""
    level: str = ""
    reason: str = ""
    why: str = ""
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
    return Planner(candidates).plan(demand)


class Planner:
    """Plans one group after another over the same nodes."""

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self._candidates = {candidate.node.name: candidate for candidate in candidates}
        self._remembered: OrderedDict[tuple[bool, str], Domains] = OrderedDict()

    @property
    def candidates(self) -> Mapping[str, Candidate]:
        return MappingProxyType(self._candidates)

    def update(self, changed: Mapping[str, Candidate | None]) -> None:
        """Nodes that look otherwise than before; None for one that is gone."""
        for name, candidate in changed.items():
            if candidate is None:
                self._candidates.pop(name, None)
            else:
                self._candidates[name] = candidate
            for (lenient, _), domains in self._remembered.items():
                if candidate is None:
                    domains.drop(name)
                else:
                    domains.put(_leniently(candidate) if lenient else candidate)

    def plan(self, demand: Demand, *, instead: Iterable[Candidate] = (), lenient: bool = False) -> Plan:
        """``instead``: nodes as this one group sees them. ``lenient``: nodes that cannot be used now, or have pods
        still going, count as they will be then, and come behind all others."""
        domains = self._domains(demand, lenient=lenient)
        before = {c.node.name: domains.put(_leniently(c) if lenient else c) for c in instead}
        try:
            domain = domains.best(demand)
            if domain is None:
                return Plan(reason="NoDomainFits", why="" if lenient else domains.why(demand))
            nodes = [c.node.name for c in domain.nodes]
            return Plan(
                nodes=tuple(nodes),
                spares=tuple(c.node.name for c in domain.spares(demand.spare_nodes)),
                domain=domain.name,
                level=domain.level,
                reserved=dict(zip(nodes, domain.packed.requests, strict=True)),
            )
        finally:
            for name, candidate in before.items():
                domains.put(candidate) if candidate is not None else domains.drop(name)

    def explain(self, demand: Demand) -> tuple[tuple[Rejection, ...], list[DomainRejection]]:
        """Every node that cannot be used, and every domain that cannot hold the group, whether or not there is a
        plan."""
        domains = self._domains(demand, lenient=False)
        nodes = tuple(Rejection(name, *problem) for name, problem in domains.problems(demand))
        small = [DomainRejection(d.level, d.name, len(d.members), left) for d, left in domains.too_small(demand)]
        return nodes, sorted(small, key=lambda d: (d.level, d.domain))

    def _domains(self, demand: Demand, *, lenient: bool) -> Domains:
        what = kinds_of(demand.pods), demand.spare_nodes, demand.topology_key, demand.levels, demand.spread_key
        key = lenient, repr(what)
        known = self._remembered.get(key)
        if known is None:
            candidates = self._candidates.values()
            known = Domains(demand, map(_leniently, candidates) if lenient else candidates)
            self._remembered[key] = known
            if len(self._remembered) > MOST_DEMANDS:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        return known


def _leniently(candidate: Candidate) -> Candidate:
    if candidate.unusable is None and not candidate.leaving:
        return candidate
    free = add((candidate.free, candidate.leaving))
    return replace(candidate, unusable=None, free=free, discouraged=True)
