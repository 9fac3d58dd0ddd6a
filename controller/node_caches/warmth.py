"""What a node holds of the models that are wanted, as its agent last said.

An agent's word counts only for the very node it was given for: NodeCaches are named like their nodes, names are
reused, and a new node under an old name holds nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from api.resources import NodeCache, NodeModelStatus
from controller.models.wanted import Wanted
from controller.objects.nodes import NodeView

# Failures of one node's disk, which another node need not share. Any other failure is the source's and would
# only follow the group from node to node.
NODE_FAILURES = frozenset({"InsufficientCache", "DiskError", "CacheVolumeLost", "StoreLocked", "Stalled"})


@dataclass(frozen=True, slots=True)
class Warmth:
    """One node's standing with all models that a group wants."""

    node: str
    has_agent: bool
    states: tuple[NodeModelStatus | None, ...]  # one for each wanted model, in order
    bytes_total: int
    bytes_done: int
    paused: bool = False

    @property
    def ready(self) -> bool:
        return all(state is not None and state.state == "Ready" for state in self.states)

    @property
    def trees(self) -> tuple[str, ...]:
        return tuple(state.tree if state else "" for state in self.states)

    @property
    def missing_bytes(self) -> int:
        return self.bytes_total - self.bytes_done

    @property
    def failure(self) -> NodeModelStatus | None:
        return next((s for s in self.states if s is not None and (s.state == "Failed" or s.reason == "Stalled")), None)

    @property
    def obstacle(self) -> str:
        """The reason why it does not get warm, where something is in the way."""
        if (failure := self.failure) is not None and failure.reason:
            return failure.reason
        if not self.has_agent:
            return "NoAgent"
        return "Paused" if self.paused and self.state not in ("Ready", "Pulling") else ""  # a pull goes on to its end

    @property
    def state(self) -> str:
        """The state of the least advanced model, as a NodeCache names it; Queued where nothing was said yet."""
        order = ("Failed", "Evicting", "Queued", "Pulling", "Ready")
        states = {state.state if state else "Queued" for state in self.states}
        return next((name for name in order if name in states), "Ready")


def has_agent(cache: NodeCache | None, node: NodeView | None) -> bool:
    return cache is not None and node is not None and cache.status.node_uid == node.uid


def warmth(node_name: str, *, node: NodeView | None, cache: NodeCache | None, wanted: Sequence[Wanted]) -> Warmth:
    known = has_agent(cache, node)
    total = sum([w.bytes for w in wanted])
    said = cache.status.models if known and cache is not None else ()
    paused = cache.status.paused if known and cache is not None else False
    if not said:  # most nodes hold nothing, and every group asks about all
        return Warmth(node_name, known, states=(None,) * len(wanted), bytes_total=total, bytes_done=0, paused=paused)
    states = tuple(next((s for s in said if s.model == w.hash and s.revision == w.revision), None) for w in wanted)
    return Warmth(
        node=node_name,
        has_agent=known,
        states=states,
        bytes_total=total,
        bytes_done=sum([_done(s, w) for s, w in zip(states, wanted, strict=True)]),
        paused=paused,
    )


def agreeing(nodes: Iterable[Warmth], wanted: Sequence[Wanted]) -> list[Warmth]:
    """The ready nodes that hold the same trees: those the Models name, else those that most nodes hold."""
    ready = [node for node in nodes if node.ready]
    known = tuple(w.tree for w in wanted)
    if all(known):
        return [node for node in ready if node.trees == known]
    counts = Counter(node.trees for node in ready)
    if not counts:
        return []
    most = min(counts, key=lambda trees: (-counts[trees], trees))
    return [node for node in ready if node.trees == most]


def _done(state: NodeModelStatus | None, wanted: Wanted) -> int:
    if state is None or state.state in ("Failed", "Evicting", "Queued"):
        return 0
    return wanted.bytes if state.state == "Ready" else min(state.bytes_done, wanted.bytes)
