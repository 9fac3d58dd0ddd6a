"""A file whose hash is wrong ends right, and no more of it is fetched again than must be."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.digest import Digest
from api.errors import SourceUnavailable
from cache.exchange.bits import union
from cache.exchange.chunks import ChunkMap
from cache.exchange.repair import repair, suspects
from cache.transfer.file import WantedFile

CHUNK = 8


@dataclass
class File:
    content: bytearray

    def read(self, offset: int, into: memoryview, /) -> int:
        into[:] = self.content[offset : offset + len(into)]
        return len(into)

    def write(self, offset: int, data: memoryview, /) -> None:
        self.content[offset : offset + len(data)] = data


@dataclass
class Source:
    """Has the right bytes of a file, and takes note."""

    content: bytes
    liars: frozenset[int] = frozenset()
    refetched: list[int] = field(default_factory=list)
    named: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    down: bool = False

    def refetch(self, chunk: int, into: memoryview, *, avoid: Collection[int]) -> None:
        if self.down:
            raise SourceUnavailable("gone")
        self.refetched.append(chunk)
        into[:] = self.content[chunk * CHUNK : chunk * CHUNK + len(into)]

    def blame(self, chunk: int, members: Collection[int]) -> None:
        self.named.append((chunk, tuple(sorted(members))))

    def blamed(self) -> Collection[int]:
        return self.liars


def spoilt(content: bytes, chunks: Collection[int]) -> File:
    wrong = bytearray(content)
    for chunk in chunks:
        wrong[chunk * CHUNK] ^= 1
    return File(wrong)


def mend(content: bytes, file: File, source: Source, *, sources: dict[int, set[int]], resumed: int = 0) -> Digest:
    wanted = WantedFile(Digest(hashlib.sha256(content).hexdigest()), len(content))
    chunks = ChunkMap.of([len(content)], chunk_bytes=CHUNK)
    return repair(
        wanted, file, numbers=chunks.of_file(0), chunks=chunks, sources=sources, resumed=resumed, fetches=source
    )


contents = st.binary(min_size=1, max_size=20 * CHUNK)


@given(st.data(), contents)
def test_whatever_was_wrong_ends_right(data: st.DataObject, content: bytes) -> None:
    count = -(-len(content) // CHUNK)
    numbers = st.integers(0, count - 1)
    wrong = data.draw(st.sets(numbers))
    sources = data.draw(st.dictionaries(numbers, st.sets(st.integers(0, 4), min_size=1)))
    resumed = union(data.draw(st.sets(numbers)))
    file, source = spoilt(content, wrong), Source(content, liars=data.draw(st.frozensets(st.integers(0, 4))))
    assert mend(content, file, source, sources=sources, resumed=resumed).hex == hashlib.sha256(content).hexdigest()
    assert bytes(file.content) == content
    assert len(source.refetched) == len(set(source.refetched))
    # Nobody is blamed for a chunk that was right, or that he did not bring.
    assert all(chunk in wrong and set(members) == sources[chunk] for chunk, members in source.named)


def test_a_known_liars_chunks_are_all_that_is_fetched_again() -> None:
    content = bytes(range(80))
    source = Source(content, liars=frozenset({2}))
    file = spoilt(content, {3, 7})
    mend(content, file, source, sources={n: {n % 2 + 1} for n in range(10)} | {3: {2}, 7: {2}})
    assert set(source.refetched) == {n for n in range(10) if n % 2 + 1 == 2}


def test_what_came_from_upstream_is_doubted_last() -> None:
    groups = suspects(range(6), sources={0: {3}, 1: {1}, 2: {1, 3}}, resumed=union([4]), blamed={3})
    assert groups == [[0, 2], [1], [4], [3, 5]]


def test_a_file_that_cannot_be_mended_now_says_so() -> None:
    content = bytes(40)
    with pytest.raises(SourceUnavailable):
        mend(content, spoilt(content, {1}), Source(content, down=True), sources={1: {0}})
