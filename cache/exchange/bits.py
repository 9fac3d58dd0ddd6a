"""Sets of chunks as integers: bit c stands for chunk c. Immutable, small, and fast to combine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

NOTHING = 0


def bit(index: int) -> int:
    return 1 << index


def below(index: int) -> int:
    """The set of everything before ``index``."""
    return (1 << index) - 1 if index > 0 else NOTHING


def lowest(chunks: int) -> int:
    """The first of a set that is not empty."""
    return (chunks & -chunks).bit_length() - 1


def each(chunks: int) -> Iterator[int]:
    """All of a set, in order."""
    while chunks:
        yield lowest(chunks)
        chunks &= chunks - 1


def union(chunks: Iterable[int]) -> int:
    """The set of these chunks."""
    found = NOTHING
    for chunk in chunks:
        found |= 1 << chunk
    return found
