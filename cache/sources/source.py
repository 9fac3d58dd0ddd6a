"""The seam between sources and everything above: what a reference resolved to, and how its bytes are read.

A source is one function per family of schemes, ``(reference, options, wanted) -> Resolved``; resolve.py picks it. What
differs between sources stays behind the two protocols here, so that one engine moves the bytes of all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from api.digest import Digest
from api.reference import Reference
from api.tree import Tree
from cache.sources.artifact import Artifact


class Body(Protocol):
    """Bytes on their way. ``readinto`` fills some of the buffer, and returns 0 at the end; MUST raise OSError or
    SourceUnavailable when the connection fails, and never give bytes beyond what was asked."""

    def readinto(self, buffer: memoryview, /) -> int: ...
    def close(self) -> None: ...


class Session(Protocol):
    """One thread's way to a source. ``abort`` MUST make a blocked ``open`` or read of another thread fail soon.

    ``open`` gives bytes ``start`` to ``stop`` of the file that the artifact lists under ``digest``; it MUST raise
    RangesIgnored, rather than give other bytes, where the source cannot.
    """

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> Body: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """``bytes`` and ``files`` count what is to be fetched: an archive counts as one file until it is unpacked.

    ``tree`` is known when the source publishes the sha256 of every file. ``open_session`` makes a session that opens
    what ``artifact`` lists, or the same artifact with more hashes. ``manifest`` is all that the source said, where the
    revision is its digest, so that it may be told on; else empty.
    """

    reference: Reference  # pinned to the revision
    revision: str
    artifact: Artifact = field(repr=False)
    open_session: Callable[[Artifact], Session] = field(repr=False, compare=False)
    manifest: bytes = field(default=b"", repr=False)

    @property
    def bytes(self) -> int:
        return self.artifact.size

    @property
    def files(self) -> int:
        return len(self.artifact.files) + len(self.artifact.unhashed) + len(self.artifact.archives)

    @property
    def tree(self) -> Tree | None:
        return self.artifact.tree
