"""A group's pods put onto nodes by their requests: first fit, the pods that fit fewest nodes first.

Nodes that look alike to the pods (the same room, taints and labels that the pods ask about) are one class, and what
fits a class is worked out once. Short rows of nodes whose classes are the same are packed the same way, which in a
cluster of equal racks spares nearly all packing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.objects.quantities import Resources, add, subtract
from controller.planning.candidates import Candidate, Problem
from controller.planning.fitting import PodShape, misfit, shortage

MANY = 1 << 31  # as many as come: pods that ask for nothing
MOST_REMEMBERED = 4096  # classes, and rows; what is free on nodes takes ever new values
LONGEST_ROW = 64  # to be remembered: longer ones are hardly ever equal, and the first nodes of theirs suffice

Order = tuple[int, ...]  # of kinds, by their index


@dataclass(frozen=True, slots=True)
class Kind:
    """``count`` pods of one shape."""

    pod: PodShape
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class NodeClass:
    """What is the same on nodes that are alike: the kinds that fit, or else the problem."""

    fits: tuple[bool, ...]
    free: Resources
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Packed:
    """Which positions of a row are used, what is taken of each, and how many pods find no room."""

    used: tuple[int, ...]
    requests: tuple[Resources, ...]
    left_over: int


def kinds_of(pods: Sequence[PodShape]) -> list[Kind]:
    """Groups have one or two shapes, however many pods."""
    found: list[PodShape] = []
    counts: list[int] = []
    for pod in pods:
        if pod in found:
            counts[found.index(pod)] += 1
        else:
            found.append(pod)
            counts.append(1)
    return [Kind(pod=pod, count=count) for pod, count in zip(found, counts, strict=True)]


class Packer:
    """Classes of nodes as these kinds of pod see them, and rows of them packed, each row once if its like comes."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.kinds = kinds
        self._labels, self._by_name = _asked_labels(kinds)
        self._classes: dict[Hashable, NodeClass] = {}
        self._packed: dict[tuple[Order, tuple[NodeClass, ...]], Packed] = {}

    def classify(self, candidate: Candidate) -> NodeClass:
        node, free = candidate.node, candidate.free
        likeness: Hashable = (node.alike, candidate.unusable, *free.items())
        if self._by_name:
            likeness = (node.name, likeness)
        elif self._labels:
            likeness = (likeness, *map(node.labels.get, self._labels))
        known = self._classes.get(likeness)
        if known is None:
            if len(self._classes) >= MOST_REMEMBERED:
                self._classes.clear()
            known = self._classes[likeness] = self._class(candidate)
        return known

    def hardest_first(self, nodes: Sequence[int]) -> Order:
        """Kinds with the fewest possible nodes first (``nodes`` counts them for each kind), then the largest."""

        def difficulty(index: int) -> tuple[int, int, int, int]:
            asked = self.kinds[index].pod.requests
            extended = sum(amount for name, amount in asked.items() if "/" in name)
            return nodes[index], -extended, -asked.get("memory", 0), -asked.get("cpu", 0)

        return tuple(sorted(range(len(self.kinds)), key=difficulty))

    def pack(self, row: Sequence[NodeClass], order: Order) -> Packed:
        """First fit over ``row``."""
        if len(row) > LONGEST_ROW:
            return self._first_fit(row, order)
        what = order, tuple(row)
        packed = self._packed.get(what)
        if packed is None:
            if len(self._packed) >= MOST_REMEMBERED:
                self._packed.clear()
            packed = self._packed[what] = self._first_fit(row, order)
        return packed

    def _class(self, candidate: Candidate) -> NodeClass:
        free, problem = candidate.free, candidate.unusable
        if problem is not None:
            return NodeClass(fits=(False,) * len(self.kinds), free=free, problem=problem)
        problems = [misfit(kind.pod, candidate.node) or shortage(kind.pod, free) for kind in self.kinds]
        fits = tuple(problem is None for problem in problems)
        return NodeClass(fits=fits, free=free, problem=None if any(fits) or not fits else problems[-1])

    def _first_fit(self, row: Iterable[NodeClass], order: Order) -> Packed:
        left = [kind.count for kind in self.kinds]
        used, requests = [], []
        for position, node in enumerate(row):
            if not any(left):
                break
            taken = self._fill(left, node, order)
            left = [count - n for count, n in zip(left, taken, strict=True)]
            if any(taken):
                used.append(position)
                requests.append(add(_times(k.pod.requests, n) for k, n in zip(self.kinds, taken, strict=True)))
        return Packed(tuple(used), tuple(requests), sum(left))

    def _fill(self, left: Sequence[int], node: NodeClass, order: Order) -> list[int]:
        free = node.free
        alone = False  # a pod that keeps its like away is on the node
        taken = [0] * len(self.kinds)
        for index in order:
            pod = self.kinds[index].pod
            most = min(left[index], _room(free, pod.requests)) if left[index] and node.fits[index] else 0
            if pod.one_per_node:
                most = 0 if alone else min(most, 1)
                alone = alone or bool(most)
            if most:
                free = subtract(free, _times(pod.requests, most))
            taken[index] = most
        return taken


def _times(amounts: Resources, n: int) -> dict[str, int]:
    return {name: amount * n for name, amount in amounts.items()}


def _room(free: Resources, asked: Resources) -> int:
    return min((max(0, free.get(name, 0)) // amount for name, amount in asked.items()), default=MANY)


def _asked_labels(kinds: Sequence[Kind]) -> tuple[tuple[str, ...], bool]:
    """Labels that the pods' selectors and affinity name, and whether they also name nodes."""
    labels: set[str] = set()
    by_name = False
    for kind in kinds:
        labels |= kind.pod.node_selector.keys()
        terms: tuple[Mapping[str, Any], ...] = kind.pod.required_terms or ()
        for term in terms:
            labels |= {expression["key"] for expression in term.get("matchExpressions") or ()}
            by_name = by_name or bool(term.get("matchFields"))
    return tuple(sorted(labels)), by_name
