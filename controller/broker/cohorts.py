"""Which nodes share one pull: every node that is to hold a model's revision gets a seat in a cohort.

Nodes of one domain that want it at the same time make a cohort of their own, with a seat each; a node that comes later
joins one that is there already, where it owns nothing and reads from whoever has it. Cohorts form a tree, of which only
the root reads the source: a new one gets its place below those that are there, and keeps it. Seats live in NodeCaches
alone, so a restart keeps them; a node keeps its seat as long as its NodeCache names the revision.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import msgspec

from api.cohort import Seat
from api.resources import NodeCache, NodeCacheSpec, NodeModel
from cache.exchange.cohorts import parent_place, part
from controller.cluster.seat_index import Content

# Pods of one rollout come within a moment of each other. Who is seated alone pulls alone, for a copy of its own.
GATHER_S = 0.5
KNOWN_S = 60.0  # longer than a loaded controller takes to come back to a node, or the wait would begin anew


def seats(
    content: Content, *, wanting: Mapping[str, str], taken: Mapping[str, Seat], domain_of: Callable[[str], str]
) -> dict[str, Seat]:
    """Seats for the ``wanting`` nodes, given with their domain; ``taken`` are those of other nodes for this content.

    A domain with more newcomers than there are nodes to read from shares the work anew: each holder would have to send
    several copies. Pure.
    """
    cohorts: dict[str, dict[str, list[Seat]]] = {}
    for node, seat in taken.items():
        cohorts.setdefault(domain_of(node), {}).setdefault(seat.cohort, []).append(seat)
    newcomers: dict[str, list[str]] = {}
    for node in sorted(wanting):
        newcomers.setdefault(wanting[node], []).append(node)
    found: dict[str, Seat] = {}
    anew: dict[str, str] = {}
    for domain, nodes in newcomers.items():
        largest = max(cohorts.get(domain, {}).values(), key=lambda held: (len(held), held[0].cohort), default=[])
        if len(nodes) <= len(largest):
            found |= {node: replace(largest[0], number=None) for node in nodes}
        else:
            anew |= dict.fromkeys(nodes, domain)
    tree = _from_the_root(taken.values())
    for cohort in part(anew):
        place = parent_place(len(tree))
        above = Seat("", None, 0) if place is None else tree[place]
        # With the one above in its name, no cohort takes the name of one that was above it before.
        name = hashlib.sha256("\n".join((*content, above.cohort, *cohort.members)).encode()).hexdigest()[:16]
        seat = Seat(name, None, len(cohort.members), above.cohort, above.seats)
        found |= {node: replace(seat, number=number) for number, node in enumerate(cohort.members)}
        tree += [seat] if seat.seats > 1 else []
    return found


def _from_the_root(taken: Iterable[Seat]) -> list[Seat]:
    """A seat of each cohort that others may read from, level by level. One alone would send each of them all of it."""
    cohorts = {seat.cohort: seat for seat in taken if seat.seats > 1}
    depths: dict[str, int] = {}
    for name in cohorts:
        depths[name], above = 0, cohorts[name].above
        while above in cohorts and depths[name] < len(cohorts):
            depths[name] += 1
            above = cohorts[above].above
    return sorted(cohorts.values(), key=lambda seat: (depths[seat.cohort], seat.cohort))


class Cohorts:
    """Seats given out by this leader that NodeCaches may not name yet. Owned by the event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._given: dict[tuple[str, Content], Seat] = {}  # by node and content
        self._first_wanted: dict[Content, float] = {}

    def seated(
        self,
        spec: NodeCacheSpec,
        *,
        node: str,
        caches: Mapping[str, NodeCache],
        taken: Callable[[Content], Mapping[str, Seat]],
        wanting: Callable[[Content], Iterable[str]],
        domain_of: Callable[[str], str],
    ) -> tuple[NodeCacheSpec, float | None]:
        """``spec`` with the node's seats in it, and seconds after which to look again for what it had to leave out.

        ``taken`` gives the seats that NodeCaches name for a content, ``wanting`` all nodes that should hold it, whether
        they do or not.
        """
        cache = caches.get(node)
        ready = {(m.model, m.revision) for m in cache.status.models if m.state == "Ready"} if cache else set()
        before = {_content(m): m.cohort for m in cache.spec.models if m.desired == "Present"} if cache else {}
        models: list[NodeModel] = []
        again_s = None
        for model in spec.models:
            content = _content(model)
            if model.desired == "Present":
                seat = Seat.parse(before.get(content, "")) or self._given.get((node, content))
                if seat is None and content not in ready:
                    if (wait_s := self._gathers_for(content)) > 0:
                        again_s = wait_s
                        continue
                    self._form(
                        content,
                        caches=caches,
                        taken=taken(content),
                        nodes={*wanting(content), node},
                        domain_of=domain_of,
                    )
                    seat = self._given.get((node, content))
                model = msgspec.structs.replace(model, cohort=str(seat) if seat else "")
            models.append(model)
        present = {_content(model) for model in models if model.desired == "Present"}
        self._given = {k: v for k, v in self._given.items() if k[0] != node or k[1] in present - before.keys()}
        return msgspec.structs.replace(spec, models=models), again_s

    def _gathers_for(self, content: Content) -> float:
        """Seconds to wait for others that want it at the same time."""
        now = self._clock()
        left_s = self._first_wanted.setdefault(content, now) + GATHER_S - now
        self._first_wanted = {c: at for c, at in self._first_wanted.items() if now - at < KNOWN_S}
        return left_s

    def _form(
        self,
        content: Content,
        *,
        caches: Mapping[str, NodeCache],
        taken: Mapping[str, Seat],
        nodes: Iterable[str],
        domain_of: Callable[[str], str],
    ) -> None:
        taken = {**taken, **{name: seat for (name, of), seat in self._given.items() if of == content}}
        holding = {name for name in nodes if name in caches and _is_ready(caches[name], content)}
        wanting = {name: domain_of(name) for name in nodes if name not in taken and name not in holding}
        for name, seat in seats(content, wanting=wanting, taken=taken, domain_of=domain_of).items():
            self._given[name, content] = seat


def is_first(seat: Seat | None) -> bool:
    """May a node with this seat say what the content is, where the source does not? One that was told to read it from
    there, and no other: what a node reports must not become everybody's only because it was quick."""
    return seat is None or (seat.number == 0 and not seat.above)


def _content(model: NodeModel) -> Content:
    return model.model, model.revision


def _is_ready(cache: NodeCache, content: Content) -> bool:
    return any((m.model, m.revision) == content and m.state == "Ready" for m in cache.status.models)
