"""Whether a client of this node may read an exchange: the two ways of knowing it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cache.exchange.authority.capability import CapabilityRefused, verify

IDLE_S = 60.0  # a client that pulls asks for a state several times a second; after so long its pull is over
LONGEST_S = 12 * 3600.0  # no pull takes longer; a client that was cut off may read on for so long at most

log = structlog.get_logger()


REASONS = ("Missing", "Malformed", "UnknownKey", "BadSignature", "OtherClient", "Expired")


class Admission(Protocol):
    """For any thread."""

    refusals: Counter[str]  # by reason, one of REASONS

    def admits(self, client: str, capability: str, *, exchange: str) -> bool:
        """May the client, proven by its key, read it? The client is not told why not, nor whether there is any."""


class SharedKey:
    """A stand-alone group: who has the group's key is a member, and members may read all."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.refusals: Counter[str] = Counter()

    def admits(self, client: str, capability: str, *, exchange: str) -> bool:
        if client != self._key:
            self.refusals["OtherClient"] += 1
        return client == self._key


class Capabilities:
    """Those that one of ``keys`` signed. What was accepted once lasts for the pull it was shown for, past its expiry.

    So a signer that is away for long stops no exchange that is under way.
    """

    def __init__(self, keys: Callable[[], Mapping[str, Ed25519PublicKey]]) -> None:
        self._keys = keys
        self.refusals: Counter[str] = Counter()
        self._accepted: dict[tuple[str, str], tuple[str, float, float]] = {}  # exchange, since when, last used
        self._said = ("", "")
        self._lock = threading.Lock()

    def admits(self, client: str, capability: str, *, exchange: str) -> bool:
        with self._lock:
            return self._granted(client, capability) == exchange

    def _granted(self, client: str, capability: str) -> str | None:
        """The exchange that the client may read."""
        now = time.monotonic()
        granted, since, used = self._accepted.get((client, capability), ("", 0.0, 0.0))
        if not since or now - used > IDLE_S or now - since > LONGEST_S:
            try:
                granted, since = verify(capability, keys=self._keys(), client=client, now=time.time()), now
            except CapabilityRefused as refusal:
                self.refusals[refusal.reason] += 1
                if (client, refusal.reason) != self._said:  # it may ask many times a second
                    self._said = client, refusal.reason
                    log.warning("exchange.client_refused", client=client[:16], why=refusal.reason)
                return None
            self._accepted = {k: v for k, v in self._accepted.items() if now - v[2] <= IDLE_S}
        self._accepted[client, capability] = granted, since, now
        return granted
