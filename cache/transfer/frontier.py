"""The sha256 of a file whose pieces come out of order.

Whoever brings the piece at the frontier hashes it, and all that follow it, from memory; nobody waits for a hasher
thread, and one that streams a file alone hashes it as it goes. A piece that found no room in memory, or was on disk
from an earlier run, is read back when the frontier reaches it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from api.digest import Digest

Read = Callable[[int, memoryview], int]
Release = Callable[[memoryview], None]

_ON_DISK = None


class Frontier:
    """For any thread. ``read(offset, into)`` reads the file back; ``release`` takes a deposited buffer again."""

    def __init__(self, *, size: int, piece_bytes: int, read: Read, release: Release) -> None:
        self._size = size
        self._piece_bytes = piece_bytes
        self._read = read
        self._release = release
        self._sha256 = hashlib.sha256()
        self._pieces: dict[int, tuple[memoryview, int] | None] = {}
        self._next = 0
        self._hashing = False
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether somebody hashes right now, so that deposited buffers are about to come back."""
        return self._hashing

    def deposit(self, offset: int, buffer: memoryview, length: int) -> None:
        """Hand over a written piece; its buffer comes back through ``release``."""
        with self._lock:
            self._pieces[offset] = (buffer, length)

    def on_disk(self, start: int, stop: int) -> None:
        """Tell that the pieces from ``start`` to ``stop`` are written and must be read back."""
        with self._lock:
            for offset in range(start, stop, self._piece_bytes):
                self._pieces[offset] = _ON_DISK

    def advance(self, scratch: memoryview) -> Digest | None:
        """Hash as far as pieces reach. Returns the digest to the one caller that reaches the end, else None.

        ``scratch`` takes what is read back. Raises DiskError.
        """
        with self._lock:
            if self._hashing:
                return None  # whoever hashes looks again before leaving, under this lock
            self._hashing = True
        try:
            while True:
                with self._lock:
                    if self._next not in self._pieces:
                        self._hashing = False
                        return None
                    piece = self._pieces.pop(self._next)
                self._hash(piece, scratch)
                if self._next >= self._size:
                    return Digest(self._sha256.hexdigest())
        except BaseException:
            self._hashing = False
            raise

    def _hash(self, piece: tuple[memoryview, int] | None, scratch: memoryview) -> None:
        length = min(self._piece_bytes, self._size - self._next)
        if piece is None:
            filled = 0
            while filled < length:
                got = self._read(self._next + filled, scratch[filled:length])
                filled += got
            self._sha256.update(scratch[:length])
        else:
            buffer, length = piece
            self._sha256.update(buffer[:length])
            self._release(buffer)
        self._next += length
