"""When a WarmSet's slowest node will be warm, from how fast each has come along so far.

Agents report progress at most every 30 s, so a speed is that between two reports; a node that has made one report
only says nothing yet. The time counts from the last report, so that the same reports give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.node_caches.warmth import Warmth
from controller.objects.durations import format_time


@dataclass(frozen=True, slots=True)
class Pace:
    """Bytes done at the first and at the last report of one pull."""

    first_at: datetime
    first_bytes: int
    last_at: datetime
    last_bytes: int

    def end(self, total_bytes: int) -> datetime | None:
        """When all bytes will be there; None before the second report."""
        seconds = (self.last_at - self.first_at).total_seconds()
        came = self.last_bytes - self.first_bytes
        if seconds <= 0 or came <= 0:
            return None
        return self.last_at + timedelta(seconds=(total_bytes - self.last_bytes) * seconds / came)


Paces = dict[str, Pace]  # by node


def observe(paces: Paces, nodes: Iterable[Warmth], *, now: datetime) -> Paces:
    """The paces after a look at the nodes; those that are ready or unknown are left out."""
    after: Paces = {}
    for node in nodes:
        if node.ready or not node.has_agent:
            continue
        before = paces.get(node.node)
        if before is None or node.bytes_done < before.last_bytes:
            after[node.node] = Pace(now, node.bytes_done, now, node.bytes_done)
        elif node.bytes_done > before.last_bytes:
            after[node.node] = Pace(before.first_at, before.first_bytes, now, node.bytes_done)
        else:
            after[node.node] = before
    return after


def eta(paces: Paces, nodes: Iterable[Warmth]) -> str:
    """RFC 3339, or '' when all are ready, or one of them gives nothing to go by."""
    ends = []
    for node in nodes:
        if node.ready:
            continue
        end = paces[node.node].end(node.bytes_total) if node.node in paces else None
        if end is None:
            return ""
        ends.append(end)
    return format_time(max(ends)) if ends else ""
