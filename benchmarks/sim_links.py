"""Modelled networks for the simulation of the exchange: which transfer ends when.

``FairLinks`` shares every link fairly among the transfers on it (max-min, as long TCP flows do). ``SerialLinks`` sends
one chunk after the other on each link, which needs no look at other transfers and so does for a thousand nodes.
Rates are in chunks per second; a link's name says its direction.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

Link = tuple[str, int]  # "up" or "down", and the node; ("up", ORIGIN) is the origin's
Transfer = int
ORIGIN = -1
_NEVER = float("inf")
_DONE = 1e-9  # of a chunk


class Links(Protocol):
    """``start`` begins a transfer of one chunk; ``pop`` goes to the next end and tells which transfers ended there."""

    def start(self, now: float, up: Link, down: Link) -> Transfer: ...
    def drop(self, now: float, transfer: Transfer) -> None: ...
    def next_end(self) -> float: ...
    def pop(self) -> list[Transfer]: ...


@dataclass(eq=False, slots=True)
class _Flow:
    up: Link
    down: Link
    left: float = 1.0  # of the chunk
    rate: float = 0.0


@dataclass
class FairLinks:
    rates: dict[Link, float]
    _flows: dict[Transfer, _Flow] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=count)
    _at: float = 0.0
    _stale: bool = False

    def start(self, now: float, up: Link, down: Link) -> Transfer:
        self._advance(now)
        number = next(self._numbers)
        self._flows[number] = _Flow(up, down)
        self._stale = True
        return number

    def drop(self, now: float, transfer: Transfer) -> None:
        self._advance(now)
        self._flows.pop(transfer, None)
        self._stale = True

    def next_end(self) -> float:
        if not self._flows:
            return _NEVER
        self._share()
        return self._at + min(flow.left / flow.rate for flow in self._flows.values())

    def pop(self) -> list[Transfer]:
        self._advance(self.next_end())
        done = [number for number, flow in self._flows.items() if flow.left < _DONE]
        for number in done:
            del self._flows[number]
        self._stale = True
        return done

    def _advance(self, now: float) -> None:
        if now > self._at:
            self._share()
            for flow in self._flows.values():
                flow.left -= flow.rate * (now - self._at)
            self._at = now

    def _share(self) -> None:
        """Progressive filling: the link with the least for each settles its transfers, then the next."""
        if not self._stale:
            return
        self._stale = False
        on: dict[Link, dict[_Flow, None]] = {}
        for flow in self._flows.values():
            on.setdefault(flow.up, {})[flow] = None
            on.setdefault(flow.down, {})[flow] = None
        left = {link: self.rates[link] for link in on}
        while on:
            tightest = min(on, key=lambda link: left[link] / len(on[link]))
            share = max(left[tightest] / len(on[tightest]), 1e-12)
            for flow in list(on[tightest]):
                flow.rate = share
                for link in (flow.up, flow.down):
                    left[link] = max(left[link] - share, 0.0)
                    del on[link][flow]
                    if not on[link]:
                        del on[link]


@dataclass
class SerialLinks:
    """A chunk goes out when the sender's link is free, and comes in when the receiver's is free after that."""

    rates: dict[Link, float]
    _free: dict[Link, float] = field(default_factory=dict)
    _ends: list[tuple[float, Transfer]] = field(default_factory=list)
    _dropped: set[Transfer] = field(default_factory=set)
    _numbers: count[int] = field(default_factory=count)

    def start(self, now: float, up: Link, down: Link) -> Transfer:
        number = next(self._numbers)
        out = max(now, self._free.get(up, 0.0)) + 1 / self.rates[up]
        self._free[up] = out
        # The receiver takes it in while it comes; only what else comes at the same time delays it.
        end = max(out, max(now, self._free.get(down, 0.0)) + 1 / self.rates[down])
        self._free[down] = end
        heapq.heappush(self._ends, (end, number))
        return number

    def drop(self, now: float, transfer: Transfer) -> None:
        self._dropped.add(transfer)  # its time on the links is lost, as bytes under way are

    def next_end(self) -> float:
        while self._ends and self._ends[0][1] in self._dropped:
            self._dropped.discard(heapq.heappop(self._ends)[1])
        return self._ends[0][0] if self._ends else _NEVER

    def pop(self) -> list[Transfer]:
        self.next_end()
        return [heapq.heappop(self._ends)[1]]
