"""How a tree is cut into chunks (rule R2).

A member passes a chunk on only when it has all of it, so each hop costs the time of one chunk, and a pull ends with a
member waiting for its last one. With 32 chunks a member that is a few hundredths of the pull; with 4 it is a third.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

CHUNKS_PER_MEMBER = 32
SMALLEST_BYTES = 1 << 20  # below, requests cost more than what they bring
LARGEST_BYTES = 16 << 20  # beyond, a chunk that must be fetched again costs more than its request saves


def chunk_bytes(total_bytes: int, *, members: int) -> int:
    """The largest power of two in the bounds that makes at least 32 chunks a member; the smallest where none does."""
    size = LARGEST_BYTES
    while size > SMALLEST_BYTES and total_bytes < size * CHUNKS_PER_MEMBER * members:
        size //= 2
    return size


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes ``start`` to ``stop`` of one file, that are one chunk of the tree."""

    file: int
    index: int  # of the chunk within its file
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ChunkMap:
    """The chunks of several files, numbered through in the files' order; a file's last chunk may be short."""

    sizes: tuple[int, ...]
    chunk_bytes: int
    firsts: tuple[int, ...]
    chunks: int

    @classmethod
    def of(cls, sizes: Sequence[int], *, chunk_bytes: int) -> ChunkMap:
        firsts, chunks = [], 0
        for size in sizes:
            firsts.append(chunks)
            chunks += -(-size // chunk_bytes)
        return cls(tuple(sizes), chunk_bytes, tuple(firsts), chunks)

    def place(self, chunk: int) -> Place:
        if not 0 <= chunk < self.chunks:
            raise IndexError(f"there are {self.chunks} chunks, not a chunk {chunk}")
        file = bisect_right(self.firsts, chunk) - 1
        index = chunk - self.firsts[file]
        start = index * self.chunk_bytes
        return Place(file, index, start, min(start + self.chunk_bytes, self.sizes[file]))

    def at(self, file: int, offset: int) -> int:
        """The chunk with this byte of a file."""
        return self.firsts[file] + offset // self.chunk_bytes

    def of_file(self, file: int) -> range:
        """The numbers of a file's chunks."""
        count = -(-self.sizes[file] // self.chunk_bytes)
        return range(self.firsts[file], self.firsts[file] + count)
