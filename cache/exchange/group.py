"""The exchanges of one agent: who takes part, what is under way, and what is held complete."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from api.digest import Digest
from cache.exchange.chunks import ChunkMap
from cache.exchange.coordinator import Coordinator
from cache.exchange.holding import Holding


@dataclass(frozen=True, slots=True)
class Group:
    """``members`` are addresses (host:port), the same list on every node; ``me`` is this node's own."""

    members: tuple[str, ...]
    me: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(sorted(set(self.members) | {self.me})))

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(member for member in self.members if member != self.me)


class ReadsBytes(Protocol):
    """Opens a blob for reading, committed or under way."""

    def open(self, digest: Digest) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class Running:
    """An exchange under way: the blobs in the order of their chunks, and where their bytes are."""

    coordinator: Coordinator
    chunks: ChunkMap
    digests: tuple[Digest, ...]
    bytes_of: ReadsBytes
    manifest: bytes = b""  # as of a Holding


@dataclass(slots=True)
class Exchanges:
    """What peers may read here, by exchange id (``Origin.exchange``). For any thread."""

    group: Group
    _running: dict[str, Running] = field(default_factory=dict)
    _held: dict[str, Holding] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, exchange: str, running: Running) -> None:
        with self._lock:
            self._running[exchange] = running

    def end(self, exchange: str) -> None:
        """Nothing came of it; what was written is not for others any more."""
        with self._lock:
            self._running.pop(exchange, None)

    def hold(self, holding: Holding) -> None:
        """The whole tree is here."""
        with self._lock:
            self._held[holding.exchange] = holding
            self._running.pop(holding.exchange, None)

    def running(self, exchange: str) -> Running | None:
        with self._lock:
            return self._running.get(exchange)

    def held(self, exchange: str) -> Holding | None:
        with self._lock:
            return self._held.get(exchange)

    def manifest(self, exchange: str) -> bytes:
        """What the source said, to be told on; empty where it is not known here, or no digest vouches for it."""
        with self._lock:
            known = self._running.get(exchange) or self._held.get(exchange)
            return known.manifest if known is not None else b""
