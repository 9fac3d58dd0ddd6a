"""Which chunks of a file are wrong, and whose they were, when all that is known is that its hash is wrong.

Every chunk is suspect, but not alike. They are fetched again, compared and replaced in groups: first those of members
that served wrong bytes before, then those of each other member, then those that an earlier run left here, and last
those from upstream, which some proxy may have altered. As soon as the hash is right, the rest is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from api.digest import Digest
from cache.aligned import aligned_buffer
from cache.exchange.chunks import ChunkMap
from cache.transfer.file import WantedFile

PIECE_BYTES = 1 << 20


class Fetches(Protocol):
    """What a repair needs of whoever runs the exchange."""

    def refetch(self, chunk: int, into: memoryview, *, avoid: Collection[int]) -> None:
        """Fill ``into`` with the chunk from elsewhere than the members in ``avoid``. Raises SourceUnavailable, …"""

    def blame(self, chunk: int, members: Collection[int]) -> None:
        """One of ``members`` brought a chunk that was wrong."""

    def blamed(self) -> Collection[int]:
        """The members that served wrong bytes before."""


class Rewritable(Protocol):
    def read(self, offset: int, into: memoryview, /) -> int: ...
    def write(self, offset: int, data: memoryview, /) -> None: ...


def suspects(
    chunks: Iterable[int], *, sources: Mapping[int, Collection[int]], resumed: int, blamed: Collection[int]
) -> list[list[int]]:
    """``chunks`` in the groups above. ``sources``: who wrote to a chunk; ``resumed``: a set of chunks."""
    groups: dict[tuple[int, int], list[int]] = {}
    for chunk in chunks:
        members = sources.get(chunk, ())
        if any(member in blamed for member in members):
            key = (0, 0)
        elif members:
            key = (1, min(members))
        else:
            key = (2, 0) if resumed >> chunk & 1 else (3, 0)
        groups.setdefault(key, []).append(chunk)
    return [groups[key] for key in sorted(groups)]


def repair(
    wanted: WantedFile,
    file: Rewritable,
    *,
    numbers: range,
    chunks: ChunkMap,
    sources: Mapping[int, Collection[int]],
    resumed: int,
    fetches: Fetches,
) -> Digest:
    """Replace what is wrong of a file, whose chunks are ``numbers``; returns the digest of what it is then."""
    new, old = aligned_buffer(chunks.chunk_bytes), aligned_buffer(chunks.chunk_bytes)
    digest = _digest(wanted, file)
    left = set(numbers)
    while digest != wanted.digest and left:
        group = suspects(sorted(left), sources=sources, resumed=resumed, blamed=fetches.blamed())[0]
        changed = False
        for chunk in group:
            place = chunks.place(chunk)
            length = place.stop - place.start
            members = sources.get(chunk, ())
            fetches.refetch(chunk, new[:length], avoid=members)
            file.read(place.start, old[:length])
            if new[:length] != old[:length]:
                file.write(place.start, new[:length])
                changed = True
                if members:
                    fetches.blame(chunk, members)
        left.difference_update(group)
        if changed:
            digest = _digest(wanted, file)
    return digest


def _digest(wanted: WantedFile, file: Rewritable) -> Digest:
    piece = aligned_buffer(PIECE_BYTES)
    sha256 = hashlib.sha256()
    for offset in range(0, wanted.size, PIECE_BYTES):
        length = min(PIECE_BYTES, wanted.size - offset)
        file.read(offset, piece[:length])
        sha256.update(piece[:length])
    return Digest(sha256.hexdigest())
