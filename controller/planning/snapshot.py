"""The nodes as one group sees them: what is free for it, and what they hold of its models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from controller.node_caches.warmth import NODE_FAILURES, Warmth
from controller.objects.nodes import NodeView
from controller.objects.quantities import Resources
from controller.planning.candidates import Candidate, Problem
from controller.planning.planner import Planner


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Free means not taken by pods nor reserved by other groups' plans; ``leaving`` is what will be free too once
    pods that are being deleted have gone."""

    view: NodeView
    free: Resources
    warmth: Warmth
    leaving: Resources = field(default_factory=dict)

    def candidate(self, *, held: bool = False) -> Candidate:
        return Candidate(
            node=self.view,
            free=self.free,
            missing_bytes=self.warmth.missing_bytes,
            held=held,
            unusable=_unusable(self.warmth),
            leaving=self.leaving,
        )


class Snapshot(Mapping[str, NodeFacts]):
    """By name, each made when it is asked for; ``planner`` knows them all, though not what is this group's alone."""

    def __init__(self, names: Collection[str], look: Callable[[str], NodeFacts], planner: Planner) -> None:
        self.planner = planner
        self._names = names
        self._look = look

    def __getitem__(self, name: str) -> NodeFacts:
        if name not in self._names:
            raise KeyError(name)
        return self._look(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def some(self, names: Iterable[str]) -> list[NodeFacts]:
        """These nodes as far as they exist, by name."""
        return [self[name] for name in sorted(names) if name in self._names]


def snapshot_of(nodes: Iterable[NodeFacts]) -> Snapshot:
    known = {facts.view.name: facts for facts in nodes}
    return Snapshot(known.keys(), known.__getitem__, Planner(facts.candidate() for facts in known.values()))


def _unusable(warmth: Warmth) -> Problem | None:
    if not warmth.has_agent:
        return "NoAgent", "no Warmset agent reports from the node"
    failure = warmth.failure
    if failure is not None and failure.reason in NODE_FAILURES:
        return failure.reason, failure.message or "the node cannot take the model"
    if warmth.paused and warmth.obstacle == "Paused":
        return "Paused", "an operator paused pulls on the node"
    return None
