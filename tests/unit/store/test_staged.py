"""A file of unknown digest is staged: written in order, and in the end a blob under what it hashes to, or nothing."""

import errno
import os
from pathlib import Path

import pytest

from api.errors import DiskError, InsufficientCache
from cache.store import Store
from cache.store import datafile as datafile_module
from cache.store.datafile import IO, DataFile
from tests.unit.store.samples import digest_of, files_below, has_direct_io

MIB = 1 << 20


def test_a_staged_file_gets_its_digest_at_the_end(store: Store) -> None:
    with store.stage() as staged:
        staged.write(b"some ")
        staged.write(memoryview(b"bytes"))
        assert staged.size == 10
        digest = staged.commit()
    assert digest == digest_of(b"some bytes")
    assert store.blob_path(digest).read_bytes() == b"some bytes"
    assert files_below(store, "scratch") == []


def test_a_staged_file_that_is_there_already_changes_nothing(store: Store) -> None:
    store.commit_small([(digest_of(b"{}"), b"{}")])
    inode = store.blob_path(digest_of(b"{}")).stat().st_ino
    with store.stage() as staged:
        staged.write(b"{}")
        staged.commit()
    assert store.blob_path(digest_of(b"{}")).stat().st_ino == inode


def test_a_staged_file_that_is_not_committed_is_gone(store: Store) -> None:
    with store.stage() as staged:
        staged.write(b"half of")
    staged.discard()
    assert files_below(store, "scratch", "blobs") == []


@pytest.mark.parametrize("io", ["auto", "buffered"])
@pytest.mark.parametrize("size", [0, 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 777])
def test_pieces_of_any_length_make_one_file(root: Path, io: IO, size: int) -> None:
    data = os.urandom(size)
    with Store.open(root, io=io) as store, store.stage(size=size) as staged:
        for start in range(0, size, MIB + 13):
            staged.write(memoryview(data)[start : start + MIB + 13])
        digest = staged.commit()
        assert digest == digest_of(data)
        assert store.blob_path(digest).read_bytes() == data
        assert store.blob_path(digest).stat().st_mode & 0o777 == 0o444


def test_whole_pages_go_past_the_page_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_direct_io(root.parent):
        pytest.skip("needs a file system with O_DIRECT: point TMPDIR at a disk")
    direct: list[int] = []
    write_direct = DataFile._write_direct

    def spy(file: DataFile, offset: int, data: memoryview) -> int:
        direct.append(write_direct(file, offset, data))
        return direct[-1]

    monkeypatch.setattr(DataFile, "_write_direct", spy)
    with Store.open(root) as store, store.stage(size=5 * MIB + 777) as staged:
        staged.write(b"x" + bytes(5 * MIB + 776))
        staged.commit()
    assert direct == [4 * MIB, MIB]


def test_a_closed_file_takes_nothing_more(store: Store) -> None:
    with store.stage() as staged:
        staged.commit()
        with pytest.raises(DiskError):
            staged.write(b"late")


def test_a_file_that_became_shorter_than_announced_ends_where_it_ended(store: Store) -> None:
    with store.stage(size=5 * MIB) as staged:
        staged.write(b"short")
        digest = staged.commit()
    assert store.blob_path(digest).read_bytes() == b"short"


def test_where_there_is_no_room_for_the_file_nothing_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(datafile_module, "allocate", full)
    with pytest.raises(InsufficientCache):
        store.stage(size=MIB)
    assert files_below(store, "scratch", "blobs") == []


def test_where_the_disk_fills_up_meanwhile_nothing_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(data: DataFile, offset: int, piece: memoryview) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(DataFile, "write", full)
    with pytest.raises(InsufficientCache), store.stage() as staged:
        staged.write(bytes(5 * MIB))
    with store.stage() as staged:
        staged.write(b"held until the commit")
        with pytest.raises(InsufficientCache):
            staged.commit()
    assert files_below(store, "scratch", "blobs") == []
