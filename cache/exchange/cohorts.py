"""How the nodes that pull one tree are parted into cohorts.

A cohort has at most 32 members of one domain: each member keeps a connection to every other. Cohorts form a binary
tree; only the root reads the origin, the others read from the cohort above. Two below each keeps what a member sends
beyond its own cohort at two chunks a stripe, whatever the number of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api.cohort import MAX_SEATS

MAX_MEMBERS = MAX_SEATS
# A cohort sends two copies to those below it. Shared by fewer than four members, that takes as long as half a pull.
FEWEST_MEMBERS = 4


@dataclass(frozen=True, slots=True)
class Cohort:
    """``members`` sorted; ``parent`` is an index into the list that the cohort is in, None for the root."""

    members: tuple[str, ...]
    parent: int | None


def part(domains: Mapping[str, str]) -> tuple[Cohort, ...]:
    """Cohorts of the nodes given as name -> domain; the same on every node that sees the same nodes.

    A domain with too many nodes makes several cohorts of nearly equal size, since time goes with the largest. Domains
    with too few are put together, the neighbours in their order; what is left comes last, where nobody reads from it.
    """
    by_domain: dict[str, list[str]] = {}
    for node in sorted(domains):
        by_domain.setdefault(domains[node], []).append(node)
    few: list[str] = []
    large: list[list[str]] = []
    for _, nodes in sorted(by_domain.items()):
        if len(nodes) < FEWEST_MEMBERS:
            few += nodes
        else:
            large.append(nodes)
    parts: list[tuple[str, ...]] = []
    for nodes in [*large, few]:
        count = -(-len(nodes) // MAX_MEMBERS)
        parts += [tuple(sorted(nodes[len(nodes) * i // count : len(nodes) * (i + 1) // count])) for i in range(count)]
    return tuple(Cohort(members, parent_place(place)) for place, members in enumerate(parts))


def parent_place(place: int) -> int | None:
    """Of a binary tree written down level by level: whose child is the one at this place."""
    return (place - 1) // 2 if place else None
