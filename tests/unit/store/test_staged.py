"""A file of unknown digest is staged: written in order, and in the end a blob under what it hashes to, or nothing."""

import errno
import os
from pathlib import Path

import pytest

from api.errors import InsufficientCache
from cache.store import Store
from cache.store import datafile as datafile_module
from cache.store.datafile import IO, DataFile
from tests.unit.store.samples import digest_of, files_below

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
