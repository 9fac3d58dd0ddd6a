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


@dataclass(frozen=True, slots=True)
class Cohort:
    """``members`` sorted; ``parent`` is an index into the list that the cohort is in, None for the root."""

    domain: str
    members: tuple[str, ...]
    parent: int | None


def part(domains: Mapping[str, str]) -> tuple[Cohort, ...]:
    """Cohorts of the nodes given as name -> domain; the same on every node that sees the same nodes.

    A domain with too many nodes makes several cohorts of nearly equal size, since time goes with the largest.
    """
    by_domain: dict[str, list[str]] = {}
    for node in sorted(domains):
        by_domain.setdefault(domains[node], []).append(node)
    parts: list[tuple[str, tuple[str, ...]]] = []
    for domain, nodes in sorted(by_domain.items()):
        count = -(-len(nodes) // MAX_MEMBERS)
        parts += [(domain, tuple(nodes[i::count])) for i in range(count)]
    return tuple(
        Cohort(domain, members, None if index == 0 else (index - 1) // 2)
        for index, (domain, members) in enumerate(parts)
    )
