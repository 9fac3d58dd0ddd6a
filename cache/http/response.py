"""One response: its head, parsed strictly, and a body that is read into the caller's buffer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from api.errors import SourceUnavailable

MAX_HEAD_BYTES = 64 * 1024  # large enough for any registry's head; a bound on what a hostile server can make us hold


class Bytes(Protocol):
    """Where a response's bytes come from. MUST raise OSError (TimeoutError included) when the connection fails."""

    def recv_into(self, buffer: memoryview, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: dict[str, str]  # names in lower case; repeated fields joined with ", " (RFC 9110 §5.3)
    keep_alive: bool

    @property
    def content_length(self) -> int | None:
        value = self.headers.get("content-length")
        if value is None:
            return None
        if not (value.isascii() and value.isdigit()):  # also refuses several differing values joined with a comma
            raise SourceUnavailable(f"the server sent Content-Length: {value[:40]!r}")
        return int(value)


def parse_head(data: bytes) -> Head:
    """Read a status line and header fields (RFC 9112 §3-5). Raises SourceUnavailable for anything else."""
    try:
        status_line, *lines = data.decode("latin-1").split("\r\n")
        version, code, *_ = status_line.split(" ", 2)
        if version not in ("HTTP/1.1", "HTTP/1.0") or not (len(code) == 3 and code.isdigit()):
            raise ValueError(status_line)
    except ValueError as error:
        raise SourceUnavailable("the server's answer is not HTTP/1.1") from error
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise SourceUnavailable("the server sent a malformed header field")
        key = name.lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection if version == "HTTP/1.1" else "keep-alive" in connection
    return Head(int(code), headers, keep_alive)


@dataclass(slots=True)
class Pace:
    """Gives up on a peer that brings fewer than ``at_least`` bytes within ``within_s`` seconds of waiting."""

    within_s: float
    at_least: int
    clock: Callable[[], float] = time.monotonic
    _waited_s: float = field(default=0.0, init=False)
    _got: int = field(default=0, init=False)

    def count(self, started_s: float, got: int) -> None:
        """Account one read that began at ``started_s``. Raises TimeoutError when the peer is too slow."""
        self._waited_s += self.clock() - started_s
        self._got += got
        if self._got >= self.at_least:
            self._waited_s, self._got = 0.0, 0
        elif self._waited_s > self.within_s:
            raise TimeoutError(f"only {self._got} bytes in {self._waited_s:.0f} s")


class Response:
    """A response whose body is still on the wire. Owned by one thread.

    ``on_end(reusable)`` is called once: when the body was read to its end, or when it is closed before.
    """

    def __init__(
        self, head: Head, source: Bytes, *, left: bytes, has_body: bool, pace: Pace, on_end: Callable[[bool], None]
    ) -> None:
        self.status = head.status
        self.headers = head.headers
        self.redirected = False
        self._source = source
        self._left = memoryview(left)
        self._pace = pace
        self._on_end = on_end
        self._ended = False
        self._chunked = has_body and head.headers.get("transfer-encoding", "").lower() == "chunked"
        if has_body and not self._chunked and "transfer-encoding" in head.headers:
            raise SourceUnavailable("the server sent a transfer encoding other than chunked")
        # Bytes to come of the body, or of the current chunk; None until the connection ends.
        self._todo: int | None = 0
        if has_body and not self._chunked:
            self._todo = head.content_length
        self._keep_alive = head.keep_alive and self._todo is not None
        self.length = None if self._chunked or not has_body else self._todo
        if not self._chunked and self._todo == 0:
            self._end(reusable=self._keep_alive)

    def readinto(self, buffer: memoryview) -> int:
        """Fill some of ``buffer`` and return how much; 0 at the end of the body.

        Raises OSError when the connection fails or ends early, TimeoutError when it stalls.
        """
        if self._ended or not len(buffer):
            return 0
        if self._chunked and self._todo == 0 and not self._next_chunk():
            return 0
        want = len(buffer) if self._todo is None else min(len(buffer), self._todo)
        got = self._raw(buffer[:want])
        if got == 0:
            self._end(reusable=False)
            if self._todo is None:
                return 0
            raise ConnectionResetError("the body ended before its length")
        if self._todo is not None:
            self._todo -= got
            if self._todo == 0:
                if self._chunked:
                    self._line()
                else:
                    self._end(reusable=self._keep_alive)
        return got

    def read(self, limit: int) -> bytes:
        """The whole body. Raises SourceUnavailable beyond ``limit`` bytes."""
        data = bytearray(min(limit + 1, 64 * 1024 if self.length is None else self.length + 1))
        filled = 0
        while got := self.readinto(memoryview(data)[filled:]):
            filled += got
            if filled > limit:
                self.close()
                raise SourceUnavailable(f"the server's answer is longer than {limit} bytes")
            if filled == len(data):
                data.extend(bytes(min(len(data), limit + 1 - filled)))
        return bytes(data[:filled])

    def close(self) -> None:
        """Give the connection up, unless the body was read to its end."""
        if not self._ended:
            self._end(reusable=False)

    def _raw(self, buffer: memoryview) -> int:
        if self._left:
            got = min(len(buffer), len(self._left))
            buffer[:got] = self._left[:got]
            self._left = self._left[got:]
            return got
        started = self._pace.clock()
        got = self._source.recv_into(buffer)
        self._pace.count(started, got)
        return got

    def _line(self) -> bytes:
        line = bytearray()
        one = memoryview(bytearray(1))
        while not line.endswith(b"\r\n"):
            if self._raw(one) == 0:
                raise ConnectionResetError("the body ended inside a chunk header")
            line += one
            if len(line) > 1024:
                raise SourceUnavailable("the server sent an endless chunk header")
        return bytes(line[:-2])

    def _next_chunk(self) -> bool:
        size = self._line().partition(b";")[0].strip()
        try:
            self._todo = int(size, 16)
        except ValueError as error:
            raise SourceUnavailable("the server sent a malformed chunk header") from error
        if self._todo:
            return True
        while self._line():  # trailer fields mean nothing to us
            pass
        self._end(reusable=self._keep_alive)
        return False

    def _end(self, *, reusable: bool) -> None:
        self._ended = True
        self._on_end(reusable and not self._left)
