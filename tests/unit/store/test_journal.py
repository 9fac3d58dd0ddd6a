"""The journal is a hint: whatever happened to it, it names only chunks that were journaled, and never raises."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cache.store.journal import RECORD_BYTES, Chunks, Journal, boot_id, chunk_count, encode, parse

BOOT, OTHER = b"b" * 16, b"o" * 16
CHUNK, COUNT = 4096, 50
indices = st.integers(0, COUNT - 1)


def chunk(value: int, *, boot: bytes = BOOT, chunk_bytes: int = CHUNK) -> bytes:
    return encode(b"WSc1", boot=boot, chunk_bytes=chunk_bytes, value=value)


def sync(value: int) -> bytes:
    return encode(b"WSs1", boot=BOOT, chunk_bytes=CHUNK, value=value)


def read(raw: bytes, *, boot: bytes = BOOT) -> Chunks:
    return parse(raw, boot=boot, chunk_bytes=CHUNK, count=COUNT)


@given(st.binary(max_size=10 * RECORD_BYTES))
def test_arbitrary_bytes_name_no_chunk(raw: bytes) -> None:
    assert read(raw).present == frozenset()


@given(st.lists(indices))
def test_what_was_journaled_in_this_boot_is_present(chunks: list[int]) -> None:
    found = read(b"".join(chunk(c) for c in chunks))
    assert found == Chunks(present=frozenset(chunks), durable=frozenset())


@given(st.lists(indices), st.data())
def test_damage_anywhere_leads_to_fewer_chunks(chunks: list[int], data: st.DataObject) -> None:
    raw = bytearray(b"".join(chunk(c) for c in chunks))
    for _ in range(data.draw(st.integers(0, 5))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    torn = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    assert read(torn).present <= set(chunks)


@given(st.lists(indices), st.integers(0, 60))
def test_another_boot_keeps_what_a_sync_covers(chunks: list[int], covered: int) -> None:
    raw = b"".join(chunk(c) for c in chunks) + sync(covered)
    assert read(raw, boot=OTHER).present == frozenset(chunks[:covered])
    assert read(raw).durable == frozenset(chunks[:covered])


def test_a_sync_covers_nothing_that_was_written_after_it() -> None:
    raw = chunk(1) + sync(9) + chunk(2)
    assert read(raw, boot=OTHER).present == {1}


def test_another_chunk_size_or_a_chunk_out_of_range_counts_for_nothing() -> None:
    assert read(chunk(1, chunk_bytes=8192) + chunk(COUNT)).present == frozenset()


@given(st.frozensets(indices), st.frozensets(indices))
def test_a_journal_started_with_chunks_says_them_again(present: frozenset[int], durable: frozenset[int]) -> None:
    said = Chunks(present=present | durable, durable=durable)
    with tempfile.TemporaryDirectory() as folder:  # hypothesis runs the body many times on one tmp_path
        file = Path(folder, "chunks.journal")
        journal = Journal.start(file, boot=BOOT, chunk_bytes=CHUNK, chunks=said)
        assert read(file.read_bytes()) == said
        assert read(file.read_bytes(), boot=OTHER).present == durable
        journal.close()


def test_appended_records_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "chunks.journal"
    journal = Journal.start(file, boot=BOOT, chunk_bytes=CHUNK, chunks=Chunks(frozenset(), frozenset()))
    journal.chunk(7)
    journal.synced(journal.length)
    journal.chunk(8)
    assert read(file.read_bytes()) == Chunks(present=frozenset({7, 8}), durable=frozenset({7}))
    journal.forget()
    journal.chunk(9)
    assert read(file.read_bytes()).present == {9}
    journal.close()


def test_the_boot_id_is_sixteen_bytes_and_stable() -> None:
    assert len(boot_id()) == 16
    assert boot_id() == boot_id()


def test_the_last_chunk_may_be_short() -> None:
    assert [chunk_count(size, chunk_bytes=10) for size in (0, 1, 10, 11)] == [0, 1, 1, 2]
