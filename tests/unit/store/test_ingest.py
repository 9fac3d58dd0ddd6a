"""An ingest takes chunks in any order, survives its process, and ends as a verified blob or as nothing."""

import errno
import mmap
import os
import threading
from pathlib import Path

import pytest

from api.errors import DigestMismatch, DiskError, InsufficientCache, InvalidRequest, Pulling, WarmsetError
from cache.store import Store
from cache.store import ingest as ingest_module
from cache.store.datafile import IO, DataFile
from tests.unit.store.samples import CHUNK, add_blob, digest_of, files_below, has_direct_io, part, put_chunks

DATA = os.urandom(5 * CHUNK + 123)
DIGEST = digest_of(DATA)


def start(store: Store, *, chunk_bytes: int = CHUNK) -> ingest_module.Ingest:
    return store.ingest(DIGEST, size=len(DATA), chunk_bytes=chunk_bytes)


def another_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "boot_id", lambda: b"another boot 16b")


def test_chunks_may_come_in_any_order_and_from_several_threads(store: Store) -> None:
    ingest = start(store)
    threads = [threading.Thread(target=put_chunks, args=(ingest, DATA, *order)) for order in ((5, 1, 3), (4, 0, 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ingest.commit(DIGEST)
    assert store.blob_path(DIGEST).read_bytes() == DATA
    assert files_below(store, "ingest", "scratch") == []


def test_a_committed_blob_is_read_only(store: Store) -> None:
    assert store.blob_path(add_blob(store, DATA)).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("io", ["auto", "direct", "buffered"])
def test_an_aligned_buffer_a_ragged_one_and_an_odd_tail_give_the_same_bytes(root: Path, io: IO) -> None:
    if io == "direct" and not has_direct_io(root.parent):
        pytest.skip("needs a file system with O_DIRECT: point TMPDIR at a disk")
    data = os.urandom((1 << 20) + 777)
    digest = digest_of(data)
    pages = mmap.mmap(-1, 1 << 20)
    pages[:] = data[: 1 << 20]
    with Store.open(root, io=io) as store, store.ingest(digest, size=len(data), chunk_bytes=1 << 20) as ingest:
        ingest.write(0, memoryview(pages)[: 512 << 10])
        ingest.write(512 << 10, memoryview(bytearray(b"x") + data)[1:][512 << 10 : (1 << 20) - 5])
        ingest.write((1 << 20) - 5, memoryview(data)[(1 << 20) - 5 :])
        ingest.written(0)
        ingest.written(1)
        ingest.commit(digest)
        assert store.blob_path(digest).read_bytes() == data


def test_a_later_process_finds_the_chunks_that_were_journaled(root: Path) -> None:
    with Store.open(root) as store, start(store) as ingest:
        put_chunks(ingest, DATA, 4, 1)
        ingest.write(0, part(DATA, 0))  # not said to be complete
    with Store.open(root) as store, start(store) as ingest:
        assert ingest.have() == {1, 4}
        into = bytearray(CHUNK)
        assert ingest.read(CHUNK, memoryview(into)) == CHUNK
        assert into == part(DATA, 1)
        put_chunks(ingest, DATA, 0, 2, 3, 5)
        ingest.commit(DIGEST)
        assert store.blob_path(DIGEST).read_bytes() == DATA


def test_chunks_of_another_size_are_not_kept(root: Path) -> None:
    with Store.open(root) as store:
        with start(store) as ingest:
            put_chunks(ingest, DATA, 0, 1)
        with start(store, chunk_bytes=2 * CHUNK) as ingest:
            assert ingest.have() == frozenset()


def test_after_another_boot_a_closed_ingest_keeps_its_chunks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(store) as ingest:
        put_chunks(ingest, DATA, 0, 3)
    another_boot(monkeypatch)
    with start(store) as ingest:
        assert ingest.have() == {0, 3}


def test_after_another_boot_a_killed_ingest_keeps_only_synced_chunks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "SYNC_BYTES", 2 * CHUNK)
    ingest = start(store)
    put_chunks(ingest, DATA, 3, 0, 4)
    journal = store.root / "ingest" / DIGEST.hex / "chunks.journal"
    as_killed = journal.read_bytes()
    ingest.close()
    journal.write_bytes(as_killed)  # close would have synced the rest
    another_boot(monkeypatch)
    with start(store) as ingest:
        assert ingest.have() == {0, 3}


def test_a_cut_partial_loses_the_chunks_that_were_cut(store: Store) -> None:
    with start(store) as ingest:
        put_chunks(ingest, DATA, 0, 1, 5)
    os.truncate(store.root / "ingest" / DIGEST.hex / "data", 2 * CHUNK - 1)
    with start(store) as ingest:
        assert ingest.have() == {0}
        put_chunks(ingest, DATA, 1, 2, 3, 4, 5)
        ingest.commit(DIGEST)
        assert store.blob_path(DIGEST).read_bytes() == DATA


def test_a_partial_that_is_too_long_is_cut(store: Store) -> None:
    with start(store) as ingest:
        put_chunks(ingest, DATA, *range(6))
    with (store.root / "ingest" / DIGEST.hex / "data").open("ab") as file:
        file.write(b"more")
    with start(store) as ingest:
        assert ingest.have() == set(range(6))
        ingest.commit(DIGEST)
        assert store.has_blob(DIGEST, len(DATA))


def test_other_bytes_are_discarded_and_the_next_ingest_starts_afresh(store: Store) -> None:
    ingest = start(store)
    put_chunks(ingest, bytes(len(DATA)), *range(6))
    with pytest.raises(DigestMismatch, match=f"expected {DIGEST}"):
        ingest.commit(digest_of(bytes(len(DATA))))
    ingest.close()
    assert not store.has_blob(DIGEST, len(DATA))
    with start(store) as ingest:
        assert ingest.have() == frozenset()


def test_a_commit_with_a_chunk_that_was_never_written_is_refused(store: Store) -> None:
    with start(store) as ingest:
        put_chunks(ingest, DATA, 0, 1, 2, 4, 5)
        with pytest.raises(InvalidRequest, match="1 chunks are not written"):
            ingest.commit(DIGEST)
    assert not store.has_blob(DIGEST, len(DATA))


def test_bytes_and_chunks_beyond_the_size_are_refused(store: Store) -> None:
    with start(store) as ingest:
        with pytest.raises(InvalidRequest):
            ingest.write(len(DATA) - 1, memoryview(b"xy"))
        with pytest.raises(InvalidRequest):
            ingest.written(6)
        with pytest.raises(InvalidRequest):
            ingest.written(-1)


def test_an_empty_blob_has_no_chunks(store: Store) -> None:
    assert store.blob_path(add_blob(store, b"")).read_bytes() == b""


def test_a_blob_that_came_another_way_meanwhile_stays(store: Store) -> None:
    small = b"small"
    with store.ingest(digest_of(small), size=5, chunk_bytes=CHUNK) as ingest:
        put_chunks(ingest, small, 0)
        store.commit_small([(digest_of(small), small)])
        inode = store.blob_path(digest_of(small)).stat().st_ino
        ingest.commit(digest_of(small))
    assert store.blob_path(digest_of(small)).stat().st_ino == inode
    assert files_below(store, "ingest") == []


def test_a_blob_of_the_wrong_size_is_replaced(store: Store) -> None:
    path = store.blob_path(DIGEST)
    path.write_bytes(b"damaged")
    assert not store.has_blob(DIGEST, len(DATA))
    add_blob(store, DATA)
    assert path.read_bytes() == DATA


def test_a_commit_cut_short_after_sealing_can_be_resumed(store: Store) -> None:
    with start(store) as ingest:
        put_chunks(ingest, DATA, *range(6))
    (store.root / "ingest" / DIGEST.hex / "data").chmod(0o444)
    with start(store) as ingest:
        ingest.commit(DIGEST)
    assert store.has_blob(DIGEST, len(DATA))


def test_a_failed_fsync_at_commit_is_final_for_the_ingest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest = start(store)
    put_chunks(ingest, DATA, *range(6))
    monkeypatch.setattr(DataFile, "seal", failing(errno.EIO))
    with pytest.raises(DiskError, match="Input/output error"):
        ingest.commit(DIGEST)
    monkeypatch.undo()
    assert not store.has_blob(DIGEST, len(DATA))
    with pytest.raises(DiskError):  # nobody may retry the fsync and succeed over lost pages
        ingest.commit(DIGEST)
    with start(store) as again:
        assert again.have() == frozenset()


@pytest.mark.parametrize(("number", "named"), [(errno.EIO, DiskError), (errno.ENOSPC, InsufficientCache)])
def test_a_failed_sync_under_way_is_final_for_the_ingest(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, named: type[WarmsetError]
) -> None:
    monkeypatch.setattr(ingest_module, "SYNC_BYTES", CHUNK)
    ingest = start(store)
    with monkeypatch.context() as failed:
        failed.setattr(DataFile, "sync", failing(number))
        with pytest.raises(named):
            put_chunks(ingest, DATA, 0)
    for use in (lambda: ingest.write(0, part(DATA, 0)), lambda: ingest.written(1), lambda: ingest.commit(DIGEST)):
        with pytest.raises(named):
            use()
    ingest.close()
    assert files_below(store, "ingest") == []


def failing(number: int):
    def fail(_: DataFile) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("end", ["commit", "discard"])
def test_nobody_begins_a_blob_anew_before_what_its_last_ingest_left_is_gone(
    store: Store, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Else what the one clears away is what the other has begun."""
    digest, cleared = digest_of(b"x"), []
    ingest = store.ingest(digest, size=1, chunk_bytes=4096)
    ingest.write(0, memoryview(b"x"))
    ingest.written(0)

    def while_another_tries(folder: Path) -> None:
        with pytest.raises(Pulling):
            store.ingest(digest, size=1, chunk_bytes=4096)
        cleared.append(folder)

    monkeypatch.setattr(ingest_module, "remove_folder", while_another_tries)
    if end == "commit":
        ingest.commit(digest)
    else:
        ingest.discard()
    assert cleared == [store.layout.ingest(digest)]
