"""What every node offers to groups, kept from one look to the next, so that a look costs what has changed.

Thousands of nodes are alike in each of thousands of looks. Here the nodes lie in the order in which a planner wants
them, one list for each set of models that some group asks for, and only nodes that World or GroupBook has noted
since are worked out anew.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from controller.book import GroupBook
from controller.decide import NodeFacts
from controller.quantities import subtract
from controller.warmth import Wanted, warmth
from controller.world import World

MOST_LISTS = 32  # of the sets of models asked for last; 5,000 nodes take about 5 MiB in each

_ORDER = attrgetter("offer.order")


@dataclass(slots=True)
class _List:
    nodes: list[NodeFacts]
    seen: tuple[int, int]  # how far the journals of world and book were read


class Offers:
    """``levels``: the cluster's topology labels, widest first."""

    def __init__(self, world: World, book: GroupBook, *, levels: tuple[str, ...] = ()) -> None:
        self.levels = levels
        self.world = world
        self.book = book
        self._lists: OrderedDict[tuple[Wanted, ...], _List] = OrderedDict()

    def all(self, group: str, wanted: tuple[Wanted, ...]) -> tuple[NodeFacts, ...]:
        """Every node as the group sees it: what its own plan takes is free for it."""
        shared = self._current(wanted)
        own = {facts.view.name: facts for facts in self.some(group, wanted, self.book.plan(group).all_nodes)}
        return tuple([own.get(facts.view.name, facts) for facts in shared]) if own else tuple(shared)

    def some(self, group: str, wanted: tuple[Wanted, ...], names: Iterable[str]) -> tuple[NodeFacts, ...]:
        """These nodes as the group sees them, as far as they exist."""
        return tuple(self._look(name, wanted, group) for name in sorted(names) if name in self.world.nodes)

    def _current(self, wanted: tuple[Wanted, ...]) -> list[NodeFacts]:
        now = len(self.world.journal), len(self.book.journal)
        known = self._lists.get(wanted)
        if known is None:
            nodes = sorted((self._look(name, wanted, "") for name in self.world.nodes), key=_ORDER)
            known = self._lists[wanted] = _List(nodes, now)
            if len(self._lists) > MOST_LISTS:
                self._lists.popitem(last=False)
        elif known.seen != now:
            changed = {*self.world.journal.since(known.seen[0]), *self.book.journal.since(known.seen[1])}
            known.nodes = [facts for facts in known.nodes if facts.view.name not in changed]
            for facts in self.some("", wanted, changed):
                insort(known.nodes, facts, key=_ORDER)
            known.seen = now
        self._lists.move_to_end(wanted)
        return known.nodes

    def _look(self, name: str, wanted: tuple[Wanted, ...], group: str) -> NodeFacts:
        view = self.world.nodes[name]
        reserved = self.book.reserved(name, besides=group)
        free = self.world.free(view)
        return NodeFacts(
            view=view,
            free=subtract(free, reserved) if reserved else free,
            warmth=warmth(name, node=view, cache=self.world.caches.get(name), wanted=wanted),
            leaving=self.world.leaving(name),
            levels=self.levels,
        )
