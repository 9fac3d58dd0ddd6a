"""How much of this node its peers may take at once: requests of one and of all, open connections, bytes a second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MAX_REQUESTS = 256  # held ones and those being sent included: a cohort and those below it need fewer
MAX_REQUESTS_EACH = 64  # members that share an address, as on loopback, are one
MAX_CONNECTIONS = 1024  # of each thread that serves
MAX_CONNECTIONS_EACH = 256
LOOK_S = 1.0  # how long more connections than that may stand


class Turnstile:
    """For any thread; a client is its address."""

    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Turnstile({self._inside.total()} requests of {len(self._inside)} clients)"

    def full(self, client: str) -> bool:
        with self._lock:
            return self._inside.total() >= MAX_REQUESTS or self._inside[client] >= MAX_REQUESTS_EACH

    @contextmanager
    def inside(self, client: str) -> Iterator[None]:
        with self._lock:
            self._inside[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside[client] -= 1
                if not self._inside[client]:
                    del self._inside[client]


class Uplink:
    """Bytes a second that leave for peers, over all of them. For any thread."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0
        self._lock = threading.Lock()

    @property
    def piece_bytes(self) -> int:
        """What to send at once, for an even flow."""
        return max(4096, min(1 << 20, self._rate // 10))

    async def take(self, count: int) -> None:
        """Wait for the moment from which so many bytes may leave."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + count / self._rate
        await asyncio.sleep(start - now)


def surplus(clients: Iterable[str]) -> list[int]:
    """Which connections are too many, of clients in the order in which they came: the latest ones."""
    seen: Counter[str] = Counter()
    found: list[int] = []
    for number, client in enumerate(clients):
        if seen[client] >= MAX_CONNECTIONS_EACH or number - len(found) >= MAX_CONNECTIONS:
            found.append(number)
        else:
            seen[client] += 1
    return found
