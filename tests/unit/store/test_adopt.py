"""Files from elsewhere become blobs of the cache's own, unless a hard link was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.errors import DiskError, InsufficientCache, InUse, InvalidRequest, WarmsetError
from cache.store import Store, space
from cache.store import adopt as adopt_module
from cache.store.adopt import adopt
from cache.store.capacity import Disk
from tests.unit.store.samples import digest_of, files_below


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


def test_a_file_becomes_a_read_only_blob_that_later_writes_do_not_reach(store: Store, file: Path) -> None:
    digest = adopt(store, file)
    file.write_bytes(b"changed")
    blob = store.blob_path(digest)
    assert (digest, blob.read_bytes(), blob.stat().st_mode & 0o777) == (digest_of(b"weights"), b"weights", 0o444)
    assert file.stat().st_mode & 0o200


def test_a_file_of_other_bytes_than_expected_leaves_nothing(store: Store, file: Path) -> None:
    assert adopt(store, file, expected=digest_of(b"other")) == digest_of(b"weights")
    assert files_below(store, "blobs", "scratch") == []


def test_a_hard_link_is_the_same_file_and_makes_it_read_only(store: Store, file: Path) -> None:
    digest = adopt(store, file, hard_link=True)
    assert store.blob_path(digest).samefile(file)
    assert file.stat().st_mode & 0o777 == 0o444
    assert files_below(store, "scratch") == []


def test_a_file_that_is_open_for_writing_is_not_linked(store: Store, file: Path) -> None:
    with file.open("r+b"), pytest.raises(InUse, match="open for writing"):
        adopt(store, file, hard_link=True)
    assert files_below(store, "blobs", "scratch") == []


def test_a_link_a_folder_and_nothing_are_refused(store: Store, file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    cases: list[tuple[Path, type[WarmsetError]]] = [
        (tmp_path / "link", InvalidRequest),
        (tmp_path, InvalidRequest),
        (tmp_path / "absent", DiskError),
    ]
    for path, kind in cases:
        with pytest.raises(kind):
            adopt(store, path)


def test_a_blob_that_is_here_stays_the_one_that_trees_link(store: Store, file: Path) -> None:
    inode = store.blob_path(adopt(store, file)).stat().st_ino
    adopt(store, file)
    assert store.blob_path(digest_of(b"weights")).stat().st_ino == inode


def test_a_copy_that_does_not_fit_is_refused_before_a_byte_is_copied(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the file system shares the bytes."""
    monkeypatch.setattr(adopt_module, "FICLONE", 0)  # no file system knows it
    monkeypatch.setattr(space, "measure_disk", lambda layout: Disk(1 << 40, 6, 1 << 20, 1 << 20))
    with pytest.raises(InsufficientCache):
        adopt(store, file)
    assert files_below(store, "blobs", "scratch") == []
