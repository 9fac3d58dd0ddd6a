"""The sha256 of a file whose pieces come out of order.

Whoever brings the piece at the frontier hashes it, and all that follow it, from memory; nobody waits for a hasher
thread, and one that streams a file alone hashes each piece in the buffer it came in. A piece that found no room in
memory, or was on disk from an earlier run, is read back when the frontier reaches it.
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
    """For any thread. ``read(offset, into)`` reads the file back; ``release`` takes a deposited buffer again, and
    ``moved`` is told where the frontier has moved without one."""

    def __init__(
        self, *, size: int, piece_bytes: int, read: Read, release: Release, moved: Callable[[], None] = lambda: None
    ) -> None:
        self._size = size
        self._piece_bytes = piece_bytes
        self._read = read
        self._release = release
        self._moved = moved
        self._sha256 = hashlib.sha256()
        self._pieces: dict[int, tuple[memoryview, int] | None] = {}
        self._next = 0
        self._hashing = False
        self._lock = threading.Condition()

    @property
    def reached(self) -> int:
        """How many bytes are hashed. Where it equals a piece's offset, it stays so until that piece is brought."""
        return self._next

    def deposit(self, offset: int, buffer: memoryview, length: int) -> None:
        """Hand over a written piece; its buffer comes back through ``release``."""
        with self._lock:
            self._pieces[offset] = (buffer, length)

    def on_disk(self, start: int, stop: int) -> None:
        """Tell that the pieces from ``start`` to ``stop`` are written and must be read back."""
        with self._lock:
            for offset in range(start, stop, self._piece_bytes):
                self._pieces[offset] = _ON_DISK

    def hash(self, piece: memoryview, scratch: memoryview) -> Digest | None:
        """Hash the written piece at the frontier where it lies, then go on as ``advance`` does."""
        with self._lock:
            while self._hashing:  # the last one is just leaving: it has found nothing at the frontier
                self._lock.wait()
            self._hashing = True
        return self._run(scratch, first=piece)

    def advance(self, scratch: memoryview) -> Digest | None:
        """Hash as far as pieces reach. Returns the digest to the one caller that reaches the end, else None.

        ``scratch`` takes what is read back. Raises DiskError.
        """
        with self._lock:
            if self._hashing:
                return None  # whoever hashes looks again before leaving, under this lock
            self._hashing = True
        return self._run(scratch, first=None)

    def _run(self, scratch: memoryview, *, first: memoryview | None) -> Digest | None:
        try:
            if first is not None:
                self._sha256.update(first)
                self._next += len(first)
                self._moved()
            while self._next < self._size:
                with self._lock:
                    if self._next not in self._pieces:
                        self._leave()
                        return None
                    piece = self._pieces.pop(self._next)
                self._hash(piece, scratch)
        except BaseException:
            with self._lock:
                self._leave()
            raise
        # Nobody takes the frontier again, so that the end is reached by one caller only.
        return Digest(self._sha256.hexdigest())

    def _leave(self) -> None:
        self._hashing = False
        self._lock.notify()

    def _hash(self, piece: tuple[memoryview, int] | None, scratch: memoryview) -> None:
        length = min(self._piece_bytes, self._size - self._next)
        if piece is None:
            filled = 0
            while filled < length:
                filled += self._read(self._next + filled, scratch[filled:length])
            self._sha256.update(scratch[:length])
            self._next += length
            self._moved()
        else:
            buffer, length = piece
            self._sha256.update(buffer[:length])
            self._next += length
            self._release(buffer)
