"""Ranges and the strict reading of what a server answers to one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from api.errors import SourceUnavailable

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"not a range: {self.start}-{self.stop}")

    @property
    def header(self) -> str:
        """The value of a Range header (RFC 9110 §14.2), whose last position is inclusive."""
        return f"bytes={self.start}-{self.stop - 1}"


class RangesIgnored(Exception):
    """The server sends the whole body instead of the range that was asked for."""


def check_partial(status: int, headers: dict[str, str], *, asked: ByteRange, size: int) -> None:
    """Accept a 206 that is exactly the range asked of a body of ``size`` bytes.

    Raises RangesIgnored for a 200, SourceUnavailable for anything that could put wrong bytes at a right place:
    another range, another total, an unknown total, several parts, a content coding.
    """
    if status == 200:
        raise RangesIgnored
    if status != 206:
        raise SourceUnavailable(f"the server answered {status} to a range request")
    check_identity(headers)
    if headers.get("content-type", "").startswith("multipart/"):
        raise SourceUnavailable("the server answered a range with several parts")
    value = headers.get("content-range", "")
    match = _CONTENT_RANGE.fullmatch(value)
    if match is None:
        raise SourceUnavailable(f"the server sent Content-Range: {value[:60]!r}")
    first, last, total = (int(group) for group in match.groups())
    if (first, last + 1, total) != (asked.start, asked.stop, size):
        raise SourceUnavailable(f"asked for {asked.header} of {size} bytes, the server sent Content-Range: {value}")
    length = headers.get("content-length")
    if length is not None and length != str(asked.stop - asked.start):
        raise SourceUnavailable(f"asked for {asked.stop - asked.start} bytes, the server sends {length[:40]}")


def check_identity(headers: dict[str, str]) -> None:
    """Refuse a content coding: bytes are stored and hashed as they are named, never decoded (we asked for identity)."""
    coding = headers.get("content-encoding", "identity").lower()
    if coding not in ("", "identity"):
        raise SourceUnavailable(f"the server sent Content-Encoding: {coding[:40]!r} although identity was asked for")
