"""Small files commit in batches, and end as verified blobs or as nothing."""

import os

import pytest

from api.errors import DigestMismatch, InvalidRequest
from cache.store import SMALL_BYTES, Store
from tests.unit.store.samples import digest_of, files_below


def test_a_batch_is_committed_read_only(store: Store) -> None:
    items = [(digest_of(data), data) for data in (b"", b"{}", os.urandom(SMALL_BYTES))]
    store.commit_small(items)
    for digest, data in items:
        assert store.blob_path(digest).read_bytes() == data
        assert store.blob_path(digest).stat().st_mode & 0o777 == 0o444
    assert files_below(store, "scratch") == []


def test_a_batch_may_be_read_by_all_whatever_the_umask(store: Store) -> None:
    mask = os.umask(0o777)
    try:
        store.commit_small([(digest_of(b"{}"), b"{}")])
    finally:
        os.umask(mask)
    assert store.blob_path(digest_of(b"{}")).stat().st_mode & 0o777 == 0o444


def test_one_wrong_file_stops_the_whole_batch(store: Store) -> None:
    with pytest.raises(DigestMismatch):
        store.commit_small([(digest_of(b"right"), b"right"), (digest_of(b"right"), b"wrong")])
    assert files_below(store, "blobs", "scratch") == []


def test_a_large_file_does_not_belong_in_a_batch(store: Store) -> None:
    data = bytes(SMALL_BYTES + 1)
    with pytest.raises(InvalidRequest):
        store.commit_small([(digest_of(data), data)])


def test_what_is_there_already_stays_the_same_file(store: Store) -> None:
    item = (digest_of(b"{}"), b"{}")
    store.commit_small([item])
    inode = store.blob_path(item[0]).stat().st_ino
    store.commit_small([item, item])
    assert store.blob_path(item[0]).stat().st_ino == inode
