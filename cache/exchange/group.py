"""The exchanges of one agent: who takes part, what is under way, and what is held complete."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from api.digest import Digest
from api.tree import Tree, TreeFile
from cache.exchange.chunks import ChunkMap, chunk_bytes
from cache.exchange.coordinator import Coordinator
from cache.transfer.file import WantedFile
from cache.transfer.plan import SMALL_BYTES


def exchange_id(place: str, tree: Digest) -> str:
    """64 hex digits for a tree as it comes from one place: a repository, a bucket's prefix."""
    return hashlib.sha256(f"{place}\n{tree}".encode()).hexdigest()


def shared_files(files: Iterable[TreeFile]) -> tuple[WantedFile, ...]:
    """The files of a tree whose bytes a group shares, in the order of their chunks; small ones are not worth it."""
    wanted = {WantedFile(file.digest, file.size) for file in files if file.size > SMALL_BYTES}
    return tuple(sorted(wanted, key=lambda file: (-file.size, file.digest)))


@dataclass(frozen=True, slots=True)
class Group:
    """``members`` are addresses (host:port), the same list on every node; ``me`` is this node's own."""

    members: tuple[str, ...]
    me: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(sorted(set(self.members) | {self.me})))


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


@dataclass(slots=True)
class Exchanges:
    """What peers may read here, by exchange id. For any thread."""

    group: Group
    _running: dict[str, Running] = field(default_factory=dict)
    _held: dict[str, Tree] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, exchange: str, running: Running) -> None:
        with self._lock:
            self._running[exchange] = running

    def end(self, exchange: str) -> None:
        """Nothing came of it; what was written is not for others any more."""
        with self._lock:
            self._running.pop(exchange, None)

    def hold(self, place: str, tree: Tree) -> None:
        """The whole tree is here, got through this place."""
        exchange = exchange_id(place, tree.digest)
        with self._lock:
            self._held[exchange] = tree
            self._running.pop(exchange, None)

    def running(self, exchange: str) -> Running | None:
        with self._lock:
            return self._running.get(exchange)

    def held_chunks(self, exchange: str) -> int | None:
        """How many chunks a tree that is held has for the group, None where it is not held."""
        tree = self.held(exchange)
        if tree is None:
            return None
        sizes = [file.size for file in shared_files(tree.files)]
        return ChunkMap.of(sizes, chunk_bytes=chunk_bytes(sum(sizes), members=len(self.group.members))).chunks

    def held(self, exchange: str) -> Tree | None:
        with self._lock:
            return self._held.get(exchange)
