"""Page-aligned buffers, made once and used again: touching fresh memory costs more than filling it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cache.aligned import aligned_buffer


class BufferPool:
    """At most ``count`` buffers of ``size`` bytes, made when first needed. For any thread."""

    def __init__(self, *, count: int, size: int) -> None:
        self._size = size
        self._unmade = count
        self._free: list[memoryview] = []
        self._changed = threading.Condition()

    def take(self, *, timeout_s: float, unless: Callable[[], bool]) -> memoryview | None:
        """A free buffer; or None when there is none within ``timeout_s``, or as soon as ``unless`` is true."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._unmade or unless(), timeout_s)
            if self._free:
                return self._free.pop()
            if not self._unmade or unless():
                return None
            self._unmade -= 1
            return aligned_buffer(self._size)

    def give(self, buffer: memoryview) -> None:
        with self._changed:
            self._free.append(buffer)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let who waits look at its ``unless`` again."""
        with self._changed:
            self._changed.notify_all()
