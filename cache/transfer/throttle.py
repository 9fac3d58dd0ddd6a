"""A token bucket: all threads of a transfer, and all transfers of a node, stay under one rate together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BURST_S = 0.25  # how much of a second may pass at once; also the longest that one read can run ahead


class Rate:
    """At most so many bytes a second, over everybody who takes from it. For any thread."""

    def __init__(self, bytes_per_second: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until_s = clock()  # the moment up to which the bytes so far use up the rate

    def take(self, count: int) -> float:
        """Account ``count`` bytes that came; returns by how many seconds they were early."""
        with self._lock:
            now_s = self._clock()
            self._paid_until_s = max(self._paid_until_s, now_s - _BURST_S) + count / self._bytes_per_second
            return max(self._paid_until_s - now_s, 0.0)

    def piece(self, wanted: int) -> int:
        """How much to read at once, so that the rate makes an even flow instead of long gaps."""
        return max(min(wanted, int(self._bytes_per_second * _BURST_S)), 1)


class Throttle:
    """A transfer's way to a rate: it sleeps off what came early, until ``cancel``. None means no limit."""

    def __init__(self, rate: Rate | None, *, cancel: threading.Event) -> None:
        self._rate = rate
        self._cancel = cancel

    def take(self, count: int) -> None:
        if self._rate is not None and (early_s := self._rate.take(count)) > 0:
            self._cancel.wait(early_s)

    def piece(self, wanted: int) -> int:
        return wanted if self._rate is None else self._rate.piece(wanted)
