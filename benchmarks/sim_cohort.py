"""A discrete-event simulation of nodes that pull one tree together, deciding with the very code of cache.exchange.

Modelled: links (see ``sim_links``), the moment at which nodes start and die, how old a state is when others hear it.
Not modelled: round trips, disks, CPU. Time is in units of one node's pull at full speed when ``chunks`` links of rate
``chunks`` are given, as ``benchmarks.exchange_sim`` does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from benchmarks.sim_links import ORIGIN, Link, Links, Transfer
from cache.exchange.above import Above
from cache.exchange.answer import Answer
from cache.exchange.cohorts import Cohort
from cache.exchange.decide import Decision, decide
from cache.exchange.ledger import Ledger
from cache.exchange.stripes import Stripes
from cache.exchange.view import View

Policy = Callable[[View], Decision]
SECOND = 0.01  # of the time that one node's pull takes: pauses are in seconds


@dataclass(frozen=True, slots=True)
class Fate:
    """When a node starts and when it dies. A joiner is no member of its cohort."""

    start: float = 0.0
    dies: float | None = None
    joiner: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """``finished`` by node, None for one that died or stayed behind; ``from_origin`` in chunks."""

    finished: tuple[float | None, ...]
    from_origin: int
    origin_chunks: tuple[int, ...]  # how often each chunk left the origin
    chunks: int
    stalled: bool

    @property
    def copies(self) -> float:
        return self.from_origin / self.chunks

    @property
    def last(self) -> float:
        return max((at for at in self.finished if at is not None), default=float("inf"))


@dataclass
class _Request:
    """One node asks another, or the origin, for a chunk."""

    asker: int
    holder: int  # a node, or ORIGIN
    chunk: int
    upstream: bool
    transfer: Transfer | None = None
    since: float = 0.0
    refused: set[int] = field(default_factory=set)  # by members of the cohort above


@dataclass
class _Node:
    number: int
    cohort: int
    fate: Fate
    ledger: Ledger
    above: Above | None = None
    alive: bool = True
    started: bool = False
    held: list[_Request] = field(default_factory=list)
    peers: dict[int, _Request] = field(default_factory=dict)  # by member of the cohort
    upstream: dict[int, _Request] = field(default_factory=dict)  # by chunk
    finished: float | None = None


class Simulation:
    """``told_every`` is how often nodes hear each other's state, in the simulation's seconds."""

    def __init__(
        self,
        cohorts: Sequence[Cohort],
        *,
        chunks: int,
        links: Links,
        fates: dict[str, Fate] | None = None,
        told_every: float = 0.01,
        policy: Policy | None = None,
        seed: str = "tree",
        limit: float = 20.0,
    ) -> None:
        self._links = links
        self._chunks = chunks
        self._told_every = told_every
        self._limit = limit
        self._cohorts = tuple(cohorts)
        fates = fates or {}
        self._members: list[list[int]] = []  # by cohort, the numbers of its members
        self._joiners: list[list[int]] = []
        self._nodes: list[_Node] = []
        self._stripes: list[Stripes] = []
        self._policy = policy
        for index, cohort in enumerate(self._cohorts):
            own = tuple(name for name in cohort.members if not fates.get(name, Fate()).joiner)
            stripes = Stripes(seed=seed, members=own, chunks=chunks)
            self._stripes.append(stripes)
            self._members.append([])
            self._joiners.append([])
            for name in cohort.members:
                fate = fates.get(name, Fate())
                me = None if fate.joiner else own.index(name)
                number = len(self._nodes)
                (self._joiners if fate.joiner else self._members)[index].append(number)
                read_from = None if cohort.parent is None else Above(self._stripes[cohort.parent], fate.start, SECOND)
                self._nodes.append(_Node(number, index, fate, Ledger(stripes, me), read_from))
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._now = 0.0
        self._under_way: dict[Transfer, _Request] = {}
        self._sent = [0] * chunks
        self._unfinished = sum(1 for node in self._nodes if node.fate.dies is None)

    def run(self) -> Outcome:
        for node in self._nodes:
            self._at(node.fate.start, lambda node=node: self._start(node))  # type: ignore[misc]
            if node.fate.dies is not None:
                self._at(node.fate.dies, lambda node=node: self._kill(node))  # type: ignore[misc]
        self._at(self._told_every, self._tell)
        while self._unfinished and self._now < self._limit:
            timer = self._timers[0][0]
            if self._links.next_end() < timer:
                self._now = self._links.next_end()
                for transfer in self._links.pop():
                    # One that ended at the same moment may have made this one pointless.
                    if request := self._under_way.pop(transfer, None):
                        self._ended(request)
            else:
                self._now, _, action = heapq.heappop(self._timers)
                action()
        return Outcome(
            finished=tuple(node.finished for node in self._nodes),
            from_origin=sum(self._sent),
            origin_chunks=tuple(self._sent),
            chunks=self._chunks,
            stalled=bool(self._unfinished),
        )

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (when, next(self._order), action))

    # -- life

    def _start(self, node: _Node) -> None:
        if not node.alive:
            return
        node.started = True
        for other in self._members[node.cohort]:
            peer = self._nodes[other]
            if peer is not node:
                if not peer.alive:
                    node.ledger.died(peer.ledger.me or 0)
                elif peer.started:
                    node.ledger.heard(peer.ledger.me or 0, peer.ledger.state)
        held, node.held = node.held, []
        for request in held:
            self._asked(node, request)
        self._decide(node)

    def _kill(self, node: _Node) -> None:
        node.alive = False
        for request in [*node.peers.values(), *node.upstream.values()]:
            self._hang_up(request)
        mine = [request for request in self._under_way.values() if request.holder == node.number]
        for request in [*mine, *node.held]:
            self._hang_up(request)
            asker = self._nodes[request.asker]
            if not request.upstream:
                asker.peers.pop(self._member(node))
            elif asker.alive and asker.above is not None:
                asker.above.failed(self._member(node), since=request.since, now=self._now)
                request.transfer = None
                self._ask_upstream(request)
        for number in [*self._members[node.cohort], *self._joiners[node.cohort]]:
            other = self._nodes[number]
            if other.started and other.alive and node.ledger.me is not None:
                other.ledger.died(node.ledger.me)
        for other in self._nodes:
            self._decide(other)

    def _tell(self) -> None:
        self._at(self._now + self._told_every, self._tell)
        for members, joiners in zip(self._members, self._joiners, strict=True):
            states = [
                (self._member(node), node.ledger.state)
                for node in map(self._nodes.__getitem__, members)
                if node.started and node.alive
            ]
            for number in [*members, *joiners]:
                node = self._nodes[number]
                if node.started and node.alive and not node.ledger.complete:
                    for member, state in states:
                        if member != node.ledger.me:
                            node.ledger.heard(member, state)
        for node in self._nodes:
            self._decide(node)

    # -- requests

    def _member(self, node: _Node) -> int:
        assert node.ledger.me is not None
        return node.ledger.me

    def _decide(self, node: _Node) -> None:
        if not node.started or not node.alive:
            return
        while True:
            view = node.ledger.view(self._now)
            decision = self._policy(view) if self._policy else decide(view, upstream_slots=self._slots(node))
            node.ledger.apply(decision, self._now)
            for member in decision.cancel:
                self._hang_up(node.peers.pop(member))
                node.ledger.failed(member)
            if decision.release:
                self._refuse(node, decision.release)
            if decision.upstream is not None:
                request = _Request(node.number, ORIGIN, decision.upstream, True)
                node.upstream[request.chunk] = request
                self._ask_upstream(request)
            for member, chunk in decision.peers:
                request = _Request(node.number, self._members[node.cohort][member], chunk, False)
                node.peers[member] = request
                self._asked(self._nodes[request.holder], request)
            if not decision.cancel and decision.upstream is None:
                return

    def _slots(self, node: _Node) -> int:
        return 1 if self._cohorts[node.cohort].parent is None else 2

    def _ask_upstream(self, request: _Request) -> None:
        """As cache.exchange.ascent does; who is dead, or has not started, is found out at once."""
        node = self._nodes[request.asker]
        if not node.alive or node.upstream.get(request.chunk) is not request:
            return None
        parent = self._cohorts[node.cohort].parent
        if node.above is not None and parent is not None:
            request.since = self._now
            while (member := node.above.next(request.chunk, refused=request.refused, now=self._now)) is not None:
                holder = self._nodes[self._members[parent][member]]
                if holder.alive and holder.started:
                    node.above.answered(member, now=self._now)
                    request.holder = holder.number
                    return self._asked(holder, request)
                node.above.failed(member, since=self._now, now=self._now)
            if node.above.patient(self._now):
                return self._at(self._now + self._told_every, lambda: self._ask_upstream(request))
        request.holder = ORIGIN
        self._sent[request.chunk] += 1
        return self._transfer(request)

    def _asked(self, holder: _Node, request: _Request) -> None:
        if not holder.started:
            holder.held.append(request)
            return
        found = holder.ledger.asked(request.chunk, self._now)
        if found is Answer.SEND:
            self._transfer(request)
        elif found is Answer.REFUSE:
            self._refused(holder, request)
        else:
            holder.held.append(request)
            if found is Answer.ADOPT:
                self._at(self._now, lambda: self._decide(holder))

    def _refuse(self, holder: _Node, chunks: int) -> None:
        refused = [request for request in holder.held if chunks >> request.chunk & 1]
        holder.held = [request for request in holder.held if not chunks >> request.chunk & 1]
        for request in refused:
            self._refused(holder, request)

    def _refused(self, holder: _Node, request: _Request) -> None:
        """The answer carries the holder's state, which says why."""
        asker = self._nodes[request.asker]
        if request.upstream:
            request.refused.add(self._member(holder))
            self._at(self._now, lambda: self._ask_upstream(request))
        else:
            asker.peers.pop(self._member(holder))
            asker.ledger.heard(self._member(holder), holder.ledger.state)
            asker.ledger.failed(self._member(holder))
        self._at(self._now, lambda: self._decide(asker))

    def _transfer(self, request: _Request) -> None:
        up: Link = ("up", request.holder)
        request.transfer = self._links.start(self._now, up, ("down", request.asker))
        self._under_way[request.transfer] = request
        if request.holder != ORIGIN:
            self._nodes[request.holder].ledger.sending(request.chunk)

    def _hang_up(self, request: _Request) -> None:
        if request.transfer is not None:
            self._links.drop(self._now, request.transfer)
            if self._under_way.pop(request.transfer, None) and request.holder != ORIGIN:
                self._nodes[request.holder].ledger.ended(request.chunk, whole=False)
        elif request.holder != ORIGIN:
            held = self._nodes[request.holder].held
            if request in held:
                held.remove(request)

    def _ended(self, request: _Request) -> None:
        node = self._nodes[request.asker]
        if request.holder != ORIGIN:
            self._nodes[request.holder].ledger.ended(request.chunk, whole=True)
        if request.upstream:
            node.upstream.pop(request.chunk)
            node.ledger.arrived(request.chunk, member=None, now=self._now)
        else:
            member = self._member(self._nodes[request.holder])
            node.peers.pop(member)
            node.ledger.arrived(request.chunk, member=member, now=self._now)
        waiting = [held for held in node.held if held.chunk == request.chunk]
        node.held = [held for held in node.held if held.chunk != request.chunk]
        for held in waiting:
            self._transfer(held)
        if node.ledger.complete and node.finished is None:
            node.finished = self._now
            self._unfinished -= node.fate.dies is None
        self._decide(node)
        if request.holder != ORIGIN:
            self._decide(self._nodes[request.holder])
