"""Snapshots of the nodes for groups, made of what is kept from one look to the next: a look costs what has changed.

Thousands of nodes are alike in each of thousands of looks. For each set of models that some group asks for there is a
planner, and it is told only of nodes that World or Roster has noted since.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from controller.cluster.roster import Roster
from controller.cluster.world import World
from controller.config import Quota
from controller.models.wanted import Wanted
from controller.node_caches.warmth import warmth
from controller.objects.quantities import subtract
from controller.planning.planner import Planner
from controller.planning.snapshot import NodeFacts, Snapshot, snapshot_of

MOST_PLANNERS = 16  # for the sets of models asked for last; with 5,000 nodes each takes 2 MiB, and what it remembers


@dataclass(slots=True)
class _Kept:
    planner: Planner
    seen: tuple[int, int]  # how far the journals of world and roster were read


class Snapshots:
    """``levels``: the cluster's topology labels, widest first; ``quotas``: what namespaces may have of each node."""

    def __init__(
        self,
        world: World,
        roster: Roster,
        *,
        levels: tuple[str, ...] = (),
        quotas: Mapping[str, Quota] = MappingProxyType({}),
    ) -> None:
        self.levels = levels
        self.quotas = quotas
        self.world = world
        self.roster = roster
        self._kept: OrderedDict[tuple[Wanted, ...], _Kept] = OrderedDict()

    def all(self, group: str, wanted: tuple[Wanted, ...]) -> Snapshot:
        """Every node as the group sees it: what its own plan takes is free for it."""
        return Snapshot(self.world.nodes.keys(), partial(self._look, wanted=wanted, group=group), self._planner(wanted))

    def some(self, group: str, wanted: tuple[Wanted, ...], names: Iterable[str]) -> Snapshot:
        """These nodes as the group sees them, as far as they exist."""
        return snapshot_of(self._look(name, wanted=wanted, group=group) for name in names if name in self.world.nodes)

    def _planner(self, wanted: tuple[Wanted, ...]) -> Planner:
        """It counts the plans of all groups."""
        look = partial(self._look, wanted=wanted, group="")
        now = len(self.world.journal), len(self.roster.journal)
        known = self._kept.get(wanted)
        if known is None:
            known = self._kept[wanted] = _Kept(Planner(look(name).candidate() for name in self.world.nodes), now)
            if len(self._kept) > MOST_PLANNERS:
                self._kept.popitem(last=False)
        elif known.seen != now:
            changed = {*self.world.journal.since(known.seen[0]), *self.roster.journal.since(known.seen[1])}
            known.planner.update({n: look(n).candidate() if n in self.world.nodes else None for n in changed})
            known.seen = now
        self._kept.move_to_end(wanted)
        return known.planner

    def _look(self, name: str, *, wanted: tuple[Wanted, ...], group: str) -> NodeFacts:
        view = self.world.nodes[name]
        reserved = self.roster.reserved(name, besides=group)
        free = self.world.free(view)
        return NodeFacts(
            view=view,
            free=subtract(free, reserved) if reserved else free,
            warmth=warmth(name, node=view, cache=self.world.caches.get(name), wanted=wanted),
            leaving=self.world.leaving(name),
        )
