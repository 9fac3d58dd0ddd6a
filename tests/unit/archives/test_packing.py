"""Compressed archives: what gzip and zstd write is read in bounded memory; what is damaged or bursts is refused."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from collections import deque

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidArtifact
from cache.archives import packing as module
from cache.archives.packing import Packing, unpacking

PACKERS = {"tar+gzip": gzip.compress, "tar+zstd": zstandard.ZstdCompressor(write_checksum=True).compress}
CONTENT = bytes(range(256)) * 3000
packings = pytest.mark.parametrize("packing", ["tar+gzip", "tar+zstd"])


def unpack(data: bytes, packing: Packing, *, window: int = 65536, scratch: int = 4096) -> bytes:
    source = io.BytesIO(data)
    fill = unpacking(source.readinto, packing=packing, size=len(data), scratch=memoryview(bytearray(scratch)))
    buffer = memoryview(bytearray(window))
    found = bytearray()
    while filled := fill(buffer):
        found += buffer[:filled]
    return bytes(found)


@packings
@pytest.mark.parametrize("window", [1, 512, 1 << 20])
@pytest.mark.parametrize("scratch", [1, 1000, 1 << 20])
def test_what_was_packed_comes_out(packing: Packing, window: int, scratch: int) -> None:
    content = CONTENT[:5000]
    assert unpack(PACKERS[packing](content), packing, window=window, scratch=scratch) == content


@packings
@given(parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=4), scratch=st.integers(1, 5000))
def test_members_one_after_the_other_are_one_archive(packing: Packing, parts: list[bytes], scratch: int) -> None:
    packed = b"".join(PACKERS[packing](part) for part in parts)
    assert unpack(packed, packing, scratch=scratch) == b"".join(parts)


def test_a_plain_tar_is_handed_on() -> None:
    assert unpack(CONTENT, "tar") == CONTENT


@pytest.mark.parametrize("level", [-5, 1, 19, 22])
@pytest.mark.parametrize("sized", [True, False])
def test_zstd_of_every_level_is_read(level: int, sized: bool) -> None:
    stream = zstandard.ZstdCompressor(level=level, write_content_size=sized).compressobj(
        size=len(CONTENT) if sized else -1
    )
    packed = stream.compress(CONTENT[:9]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    packed += stream.compress(CONTENT[9:]) + stream.flush()
    assert unpack(packed, "tar+zstd", scratch=100) == CONTENT


def test_skippable_frames_of_zstd_are_skipped() -> None:
    skipped = (0x184D2A5F).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"noise"
    assert unpack(skipped + PACKERS["tar+zstd"](CONTENT) + skipped, "tar+zstd") == CONTENT


@packings
@given(st.data())
def test_an_archive_that_is_cut_anywhere_is_refused(packing: Packing, data: st.DataObject) -> None:
    packed = PACKERS[packing](CONTENT[:2000])
    with pytest.raises(InvalidArtifact):
        unpack(packed[: data.draw(st.integers(1, len(packed) - 1))], packing)


@packings
@given(trailing=st.binary(min_size=1, max_size=40))
def test_what_follows_the_archive_is_refused(packing: Packing, trailing: bytes) -> None:
    with pytest.raises(InvalidArtifact):
        unpack(PACKERS[packing](CONTENT) + trailing, packing)


@packings
def test_zeros_after_the_archive_are_refused_too(packing: Packing) -> None:
    with pytest.raises(InvalidArtifact):
        unpack(PACKERS[packing](CONTENT) + bytes(512), packing)


@packings
@given(at=st.integers(0, 10_000), value=st.integers(1, 255))
def test_a_changed_byte_gives_the_content_or_a_refusal(packing: Packing, at: int, value: int) -> None:
    packed = bytearray(PACKERS[packing](CONTENT))
    packed[at % len(packed)] ^= value
    try:
        assert unpack(bytes(packed), packing) == CONTENT  # a header holds bits that say nothing
    except InvalidArtifact:
        return


@packings
@given(data=st.binary(min_size=1, max_size=2000))
def test_no_bytes_break_the_reader(packing: Packing, data: bytes) -> None:
    with pytest.raises(InvalidArtifact):
        unpack(data, packing)


@packings
def test_a_bomb_is_refused_with_its_budget_and_takes_no_memory(packing: Packing) -> None:
    zeros = bytes(1 << 20)
    if packing == "tar+gzip":
        packer = zlib.compressobj(9, wbits=31)
        bomb = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    else:
        bomb = b"".join([PACKERS[packing](zeros)] * 256)
    tracemalloc.start()
    source = io.BytesIO(bomb)
    fill = unpacking(source.readinto, packing=packing, size=len(bomb), scratch=memoryview(bytearray(1 << 18)))
    window = memoryview(bytearray(1 << 20))
    with pytest.raises(InvalidArtifact, match="bomb"):
        deque(iter(lambda: fill(window), 0), maxlen=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@packings
def test_however_large_an_archive_there_is_an_absolute_budget(
    packing: Packing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_UNPACKED_BYTES", len(CONTENT) - 1)
    with pytest.raises(InvalidArtifact, match="bomb"):
        unpack(PACKERS[packing](CONTENT), packing)


def test_a_zstd_window_beyond_what_the_command_takes_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, strategy=1, chain_log=10, hash_log=10, min_match=7)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(InvalidArtifact, match="damaged"):
        unpack(stream.compress(CONTENT) + stream.flush(), "tar+zstd")
