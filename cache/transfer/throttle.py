"""A token bucket: all threads of a transfer together stay under a rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BURST_S = 0.25  # how much of a second may pass at once; also the longest that one read can run ahead


class Throttle:
    """``take(n)`` accounts n bytes and sleeps when they came too early. For any thread.

    ``limit_bps`` is in bytes per second; None means no limit.
    """

    def __init__(
        self, limit_bps: int | None, *, cancel: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit_bps = limit_bps
        self._cancel = cancel
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until_s = clock()  # the moment up to which the bytes so far use up the rate

    def take(self, count: int) -> None:
        if self._limit_bps is None:
            return
        with self._lock:
            now_s = self._clock()
            self._paid_until_s = max(self._paid_until_s, now_s - _BURST_S) + count / self._limit_bps
            early_s = self._paid_until_s - now_s
        if early_s > 0:
            self._cancel.wait(early_s)

    def piece(self, wanted: int) -> int:
        """How much to read at once, so that a limit makes an even flow instead of long gaps."""
        if self._limit_bps is None:
            return wanted
        return max(min(wanted, int(self._limit_bps * _BURST_S)), 1)
