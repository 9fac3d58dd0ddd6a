"""Bytes of one blob in order, over as many connections as it takes."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from api.digest import Digest
from api.errors import Cancelled
from cache.http.retry import TRANSIENT, Retries, RetryPolicy
from cache.sources.source import Body, Session
from cache.transfer.progress import Meter
from cache.transfer.throttle import Throttle

__all__ = ["BlobReader", "Link", "Session"]

_PROGRESS_BYTES = 64 * 1024  # a connection that brought this much was worth opening: failures are counted anew


@dataclass(frozen=True, slots=True)
class Link:
    """What all reads of a transfer share."""

    policy: RetryPolicy
    cancel: threading.Event
    throttle: Throttle
    meter: Meter
    from_peer: bool = False  # how what comes is counted


class BlobReader:
    """Reads ``start`` to ``stop`` of a blob. A broken body goes on at the byte reached. Owned by one thread.

    A source that ignores ranges raises RangesIgnored, unless ``sequential``: then what comes before ``start`` is
    read and dropped, which is right, since the body is the same, and dear.
    """

    def __init__(
        self,
        session: Session,
        digest: Digest,
        *,
        size: int,
        start: int,
        stop: int,
        link: Link,
        sequential: bool = False,
    ) -> None:
        self._session = session
        self._digest = digest
        self._size = size
        self._start = self._position = start
        self._stop = stop
        self._link = link
        self._sequential = sequential
        self._response: Body | None = None
        self._retries = Retries(link.policy, link.cancel)
        self._since_failure = 0

    def fill(self, buffer: memoryview) -> int:
        """Fill ``buffer``, or what is left of the range; returns the bytes written, 0 at the end.

        Raises a named error once the policy's tries are used up, Cancelled when cancelled.
        """
        wanted = min(len(buffer), self._stop - self._position)
        filled = 0
        while filled < wanted:
            if self._link.cancel.is_set():
                raise Cancelled("the transfer was cancelled")
            piece = self._link.throttle.piece(wanted - filled)
            try:
                got = self._read(buffer[filled : filled + piece])
            except TRANSIENT as error:
                self.close()
                self._retries.pause(error, what=f"blob {self._digest}")
                continue
            filled += got
            self._account(got)
        return filled

    @property
    def received(self) -> int:
        """Bytes so far, those of a failed ``fill`` included."""
        return self._position - self._start

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _read(self, buffer: memoryview) -> int:
        if self._response is None:
            self._response = self._open(buffer)
        got = self._response.readinto(buffer)
        if got == 0:
            raise ConnectionResetError("the body ended early")
        return got

    def _open(self, scratch: memoryview) -> Body:
        if not self._sequential:
            return self._session.open(self._digest, size=self._size, start=self._position, stop=self._stop)
        response = self._session.open(self._digest, size=self._size, start=0, stop=self._size)
        todo = self._position
        while todo:
            got = response.readinto(scratch[: min(todo, len(scratch))])
            if got == 0:
                raise ConnectionResetError("the body ended early")
            todo -= got
        return response

    def _account(self, got: int) -> None:
        self._position += got
        self._link.meter.received(got, from_peer=self._link.from_peer)
        self._link.throttle.take(got)
        self._since_failure += got
        if self._since_failure >= _PROGRESS_BYTES:
            self._retries.failures = 0
            self._since_failure = 0
