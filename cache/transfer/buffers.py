"""Page-aligned buffers, made once and used again: touching fresh memory costs more than filling it."""

from __future__ import annotations

import mmap
import threading


def aligned_buffer(size: int) -> memoryview:
    """``size`` zero bytes that start on a page, as direct I/O needs them."""
    return memoryview(mmap.mmap(-1, size))


class BufferPool:
    """At most ``count`` buffers of ``size`` bytes, made when first needed. For any thread."""

    def __init__(self, *, count: int, size: int) -> None:
        self._size = size
        self._unmade = count
        self._free: list[memoryview] = []
        self._changed = threading.Condition()

    def take(self, *, timeout_s: float) -> memoryview | None:
        """A free buffer, or None when there is none within ``timeout_s``."""
        with self._changed:
            if not self._free and self._unmade:
                self._unmade -= 1
                return aligned_buffer(self._size)
            if not self._free and timeout_s:
                self._changed.wait(timeout_s)
            return self._free.pop() if self._free else None

    def give(self, buffer: memoryview) -> None:
        with self._changed:
            self._free.append(buffer)
            self._changed.notify()
