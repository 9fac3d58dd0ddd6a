"""How far a transfer is."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes that are in the store or on their way into it, bytes taken from the source and from peers, files done."""

    bytes_done: int
    bytes_total: int
    bytes_origin: int
    bytes_peers: int
    files_done: int
    files_total: int


class Meter:
    """Counts what the threads do. For any thread."""

    def __init__(self, *, bytes_total: int, files_total: int) -> None:
        self._lock = threading.Lock()
        self._bytes_total = bytes_total
        self._files_total = files_total
        self._done = 0
        self._origin = 0
        self._peers = 0
        self._files = 0

    def received(self, count: int, *, from_peer: bool = False) -> None:
        """Bytes from the source or a peer, that count as done until ``undo`` says otherwise."""
        with self._lock:
            if from_peer:
                self._peers += count
            else:
                self._origin += count
            self._done += count

    def reused(self, count: int) -> None:
        """Bytes that need not be fetched."""
        with self._lock:
            self._done += count

    def undo(self, count: int) -> None:
        """Bytes that turned out to be wrong."""
        with self._lock:
            self._done -= count

    def finished(self, files: int = 1) -> None:
        with self._lock:
            self._files += files

    def snapshot(self) -> Progress:
        with self._lock:
            return Progress(self._done, self._bytes_total, self._origin, self._peers, self._files, self._files_total)
