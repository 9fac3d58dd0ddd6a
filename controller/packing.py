"""A group's pods put onto nodes by their requests: first fit, the pods that fit fewest nodes first.

Nodes that look alike to the pods (the same room, taints and labels that the pods ask about) are one class, and what
fits a class is worked out once. Rows of nodes whose classes are the same are packed the same way, which in a cluster
of equal racks spares nearly all packing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from controller.fitting import PodShape, misfit, shortage
from controller.nodes import NodeView
from controller.quantities import Resources, add, subtract

MANY = 1 << 31  # as many as come: pods that ask for nothing

Problem = tuple[str, str]  # a named reason, and a message


@dataclass(frozen=True, slots=True)
class Kind:
    """``count`` pods of one shape."""

    pod: PodShape
    count: int


@dataclass(slots=True, eq=False)
class NodeClass:
    """What is the same on nodes that are alike: the kinds that fit, or else the problem.

    ``nodes`` counts the usable ones, where there are kinds to be told apart by that.
    """

    fits: tuple[bool, ...]
    free: Resources
    problem: Problem | None
    nodes: int = 0


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


def classify(kinds: Sequence[Kind], node: NodeView, free: Resources, *, problem: Problem | None) -> NodeClass:
    """``problem``: why the nodes are out whatever the pods ask, if they are."""
    if problem is not None:
        return NodeClass(fits=(False,) * len(kinds), free=free, problem=problem)
    problems = [misfit(kind.pod, node) or shortage(kind.pod, free) for kind in kinds]
    fits = tuple(problem is None for problem in problems)
    return NodeClass(fits=fits, free=free, problem=None if any(fits) or not kinds else problems[-1])


def likeness(kinds: Sequence[Kind], *, also: str) -> Callable[[Any], Hashable]:
    """By what candidates are alike to these pods: their ``alike``, the labels that the pods ask about, and ``also``."""
    asked, by_name = _asked_labels(kinds)
    if by_name:
        return attrgetter("node.name")
    if not asked and not also:
        return attrgetter("alike")
    labels = sorted(asked | {also} if also else asked)
    if len(labels) == 1:
        (label,) = labels
        return lambda candidate: (candidate.alike, candidate.node.labels.get(label))
    return lambda candidate: (candidate.alike, *map(candidate.node.labels.get, labels))


def hardest_first(kinds: Sequence[Kind], classes: Sequence[NodeClass]) -> list[int]:
    """Indices of the kinds: those with the fewest possible nodes first, then the largest."""

    def difficulty(index: int) -> tuple[int, int, int, int]:
        asked = kinds[index].pod.requests
        extended = sum(amount for name, amount in asked.items() if "/" in name)
        nodes = sum(known.nodes for known in classes if known.fits[index])
        return nodes, -extended, -asked.get("memory", 0), -asked.get("cpu", 0)

    return sorted(range(len(kinds)), key=difficulty)


class Packer:
    """Packs rows of nodes, each row once however often its like comes."""

    def __init__(self, kinds: Sequence[Kind], classes: Sequence[NodeClass]) -> None:
        self._kinds = kinds
        self._order = hardest_first(kinds, classes)
        self._known: dict[tuple[NodeClass, ...], Packed] = {}

    def pack(self, row: Iterable[tuple[object, NodeClass]]) -> Packed:
        """First fit over ``row``."""
        classes = tuple([known for _, known in row])
        packed = self._known.get(classes)
        if packed is None:
            packed = self._known[classes] = self._first_fit(classes)
        return packed

    def _first_fit(self, row: Sequence[NodeClass]) -> Packed:
        left = [kind.count for kind in self._kinds]
        used, requests = [], []
        for position, node in enumerate(row):
            if not any(left):
                break
            taken = self._fill(left, node)
            left = [count - n for count, n in zip(left, taken, strict=True)]
            if any(taken):
                used.append(position)
                requests.append(add(_times(k.pod.requests, n) for k, n in zip(self._kinds, taken, strict=True)))
        return Packed(tuple(used), tuple(requests), sum(left))

    def _fill(self, left: Sequence[int], node: NodeClass) -> list[int]:
        free = node.free
        alone = False  # a pod that keeps its like away is on the node
        taken = [0] * len(self._kinds)
        for index in self._order:
            pod = self._kinds[index].pod
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


def _asked_labels(kinds: Sequence[Kind]) -> tuple[set[str], bool]:
    """Labels that the pods' selectors and affinity name, and whether they also name nodes."""
    labels: set[str] = set()
    by_name = False
    for kind in kinds:
        labels |= kind.pod.node_selector.keys()
        terms: tuple[Mapping[str, Any], ...] = kind.pod.required_terms or ()
        for term in terms:
            labels |= {expression["key"] for expression in term.get("matchExpressions") or ()}
            by_name = by_name or bool(term.get("matchFields"))
    return labels, by_name
