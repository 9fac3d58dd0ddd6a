"""The exchanges of one agent: who takes part, what is under way, and what is held complete."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Protocol

from api.digest import Digest
from api.errors import SourceUnavailable
from cache.exchange.authority.access import Access
from cache.exchange.chunks import ChunkMap
from cache.exchange.coordinator import Coordinator
from cache.exchange.holding import Holding

WRONG_BYTES = "WrongBytes"
DOES_NOT_SEND = "DoesNotSend"
SET_ASIDE_REASONS = (WRONG_BYTES, DOES_NOT_SEND)


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a member is (host:port), and the hash of its key; empty where members do not prove themselves.

    ``node`` is what people know it by, where that is neither its name in the group nor its address.
    """

    address: str
    key: str = ""
    node: str = ""


class Contacts:
    """Of a group's members, by name; they become known and move while a pull goes on. For any thread."""

    def __init__(self, known: Mapping[str, Contact]) -> None:
        self._known = dict(known)

    def update(self, known: Mapping[str, Contact]) -> None:
        self._known = {**self._known, **known}

    def known_as(self, member: str) -> str:
        """The same in every group that the member is in."""
        contact = self._known.get(member)
        return contact.node or contact.address if contact else member

    def reach(self, member: str) -> Contact:
        """Raises SourceUnavailable while nobody knows where it is."""
        try:
            return self._known[member]
        except KeyError:
            raise SourceUnavailable(f"member {member} of the cohort has not said where it is") from None


@dataclass(frozen=True, slots=True)
class Group:
    """``members`` are names, the same list on every node; ``me`` is this node's own, None for one that came later.

    ``above`` are the members of the cohort that this one reads from, none where it reads the origin. Without ``access``
    members do not prove themselves to each other.
    """

    members: tuple[str, ...]
    me: str | None
    contacts: Contacts
    access: Access | None = None
    above: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        own = {self.me} if self.me is not None else set()
        object.__setattr__(self, "members", tuple(sorted({*self.members, *own})))
        object.__setattr__(self, "above", tuple(sorted(self.above)))

    @classmethod
    def listed(
        cls, addresses: Iterable[str], *, me: str, access: Access | None = None, above: Iterable[str] = ()
    ) -> Group:
        """Of addresses (host:port), which are the members' names too; with ``access`` they all have the same key."""
        key = access.tls.identity.key if access else ""
        members, read_from = tuple(addresses), tuple(above)
        contacts = Contacts({member: Contact(member, key) for member in (*members, *read_from)})
        return cls(members, me, contacts, access, read_from)

    @property
    def others(self) -> tuple[str, ...]:
        """Everybody of whom something can be had."""
        return tuple(member for member in (*self.members, *self.above) if member != self.me)


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


@dataclass(frozen=True, slots=True)
class SetAside:
    """A peer from which nothing is taken any more, the reason as metrics have it, and when that was (Unix time)."""

    peer: str
    reason: str
    message: str
    at: float


@dataclass(slots=True)
class Exchanges:
    """What peers may read here, by exchange id (``Origin.exchange``). For any thread.

    ``group`` is who the pulls are shared with that have this one; what they bring is the same for all groups.
    """

    group: Group
    _running: dict[str, Running] = field(default_factory=dict)
    _held: dict[str, Holding] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)  # when a held one was last asked for, monotonic
    _set_aside: list[SetAside] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def within(self, group: Group) -> Exchanges:
        return replace(self, group=group)

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
            self._asked[holding.exchange] = time.monotonic()
            self._running.pop(holding.exchange, None)

    def running(self, exchange: str) -> Running | None:
        with self._lock:
            return self._running.get(exchange)

    def held(self, exchange: str) -> Holding | None:
        with self._lock:
            return self._held.get(exchange)

    def asked(self, exchange: str) -> None:
        """A peer wants to know what is here of it."""
        with self._lock:
            self._asked[exchange] = time.monotonic()

    def unasked(self, *, since_s: float) -> list[Holding]:
        """What is held, and nobody asked for in so many seconds."""
        before = time.monotonic() - since_s
        with self._lock:
            return [holding for name, holding in self._held.items() if self._asked[name] <= before]

    def manifest(self, exchange: str) -> bytes:
        """What the source said, to be told on; empty where it is not known here, or no digest vouches for it."""
        with self._lock:
            known = self._running.get(exchange) or self._held.get(exchange)
            return known.manifest if known is not None else b""

    def set_aside(self, peer: str, *, reason: str, message: str) -> None:
        """For the rest of an exchange, or as long as this process lives where it served wrong bytes."""
        with self._lock:
            self._set_aside.append(SetAside(peer, reason, message, time.time()))

    def peers_set_aside(self) -> list[SetAside]:
        """All since the start of this process, a peer once a reason: the last time."""
        with self._lock:
            return list({(one.peer, one.reason): one for one in self._set_aside}.values())

    def serves_wrong_bytes(self, peer: str) -> bool:
        with self._lock:
            return any(one.peer == peer and one.reason == WRONG_BYTES for one in self._set_aside)
