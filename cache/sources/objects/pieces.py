"""Bodies of stores that are read by calls, each of which gives a whole range at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from api.digest import Digest
from api.errors import NotFound, SourceUnavailable
from cache.sources.objects.listing import Listed

# One call: long enough that its round trip does not count, short enough that memory and an abort stay small.
PIECE_BYTES = 8 << 20

Read = Callable[[Listed, int, int], memoryview]  # the object, first byte, byte after the last


class Abortable(Protocol):
    def is_set(self) -> bool: ...


class PieceBody:
    """Every piece is checked for its length: some drivers give the whole object for a range, or what is left of it."""

    def __init__(self, read: Read, listed: Listed, *, start: int, stop: int, aborted: Abortable) -> None:
        self._read = read
        self._listed = listed
        self._position = start
        self._stop = stop
        self._aborted = aborted
        self._piece = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        if not self._piece and self._position < self._stop:
            self._next()
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        self._piece = memoryview(b"")

    def _next(self) -> None:
        if self._aborted.is_set():
            raise ConnectionAbortedError("the transfer was cancelled")
        wanted = min(PIECE_BYTES, self._stop - self._position)
        piece = self._read(self._listed, self._position, self._position + wanted)
        if len(piece) != wanted:
            raise SourceUnavailable(f"{self._listed.path[:120]}: asked for {wanted} bytes, got {len(piece)}")
        self._piece = piece
        self._position += wanted


class PieceSession:
    """One thread's way to such a store. An abort takes effect with the next piece: calls cannot be interrupted, but
    have time limits of their own."""

    def __init__(self, read: Read, located: Mapping[Digest, Listed]) -> None:
        self._read = read
        self._located = located
        self._aborted = threading.Event()

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> PieceBody:
        listed = self._located.get(digest)
        if listed is None or listed.size != size:
            raise NotFound(f"{digest} is no object of this listing")
        return PieceBody(self._read, listed, start=start, stop=stop, aborted=self._aborted)

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        self._aborted.set()
