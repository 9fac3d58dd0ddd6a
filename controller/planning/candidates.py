"""What the planner is given: nodes as they are for one group, and what the group asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.objects.nodes import NodeView
from controller.objects.quantities import Resources
from controller.planning.fitting import PodShape

Problem = tuple[str, str]  # a named reason, and a message


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node with what is free on it for this group, and what it lacks of the group's models (bytes).

    ``held``: an earlier plan of this group has it. ``unusable``: reason and message why it may not be used whatever
    its fit, such as no agent on it. ``discouraged``: used only after all others. ``leaving``: what will be free too
    once pods that are being deleted have gone.
    """

    node: NodeView
    free: Resources
    missing_bytes: int = 0
    held: bool = False
    unusable: Problem | None = None
    discouraged: bool = False
    leaving: Resources = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a group asks: its pods still to be placed, spare nodes, and the domain it must stay within.

    ``domain`` is fixed where a member already runs; ``taken_domains`` belong to other groups that asked for a
    domain of their own. ``levels`` are labels by which the group should be kept together as far as that goes, widest
    first; they do not count where it named its own ``topology_key``.

    ``spread_key`` is a label over whose values the groups of a set are to be spread, and ``crowds`` how many others
    each value has. It is a wish, as levels are.
    """

    pods: tuple[PodShape, ...]
    spare_nodes: int = 0
    topology_key: str = ""
    domain: str = ""
    taken_domains: frozenset[str] = frozenset()
    levels: tuple[str, ...] = ()
    spread_key: str = ""
    crowds: Mapping[str, int] = field(default_factory=dict)

    def bars(self, domain: str) -> Problem | None:
        """Why a domain of the group's own ``topology_key`` is out for it, whatever its pods ask."""
        if self.domain and domain != self.domain:
            return "OtherDomain", f"the group runs in {self.topology_key}={self.domain}"
        if domain in self.taken_domains:
            return "DomainTaken", f"{self.topology_key}={domain} belongs to another group"
        return None


def crowds(groups: Iterable[Iterable[str]], *, key: str, nodes: Mapping[str, NodeView]) -> Mapping[str, int]:
    """How many of the groups, each given by the names of its nodes, each value of the label has."""
    return Counter(
        value for names in groups for value in {nodes[name].labels.get(key, "") for name in names if name in nodes}
    )
