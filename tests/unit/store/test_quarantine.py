"""Wrong blobs leave the store at once, are kept a while, and never fill the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.errors import DiskError
from cache.store import Store, hashing
from cache.store.quarantine import MAX_FILES
from tests.unit.store.conftest import rot
from tests.unit.store.samples import add_blob, add_tree, digest_of, files_below


def test_a_blob_is_right_wrong_or_absent(store: Store) -> None:
    blob = add_blob(store, b"good")
    assert store.check_blob(blob).state == "right"
    rot(store.blob_path(blob))
    assert store.check_blob(blob).state == "wrong"
    assert store.check_blob(digest_of(b"never here")).state == "absent"


def test_a_dropped_blob_is_in_quarantine_and_nowhere_else(store: Store) -> None:
    blob = add_blob(store, b"good")
    rot(store.blob_path(blob))
    assert store.drop_blob(blob, inode=store.check_blob(blob).inode)
    assert not store.has_blob(blob, 4)
    (name,) = files_below(store, "quarantine")
    assert name.startswith(f"quarantine/{blob.hex}.")


def test_a_blob_that_was_fetched_anew_meanwhile_stays(store: Store) -> None:
    blob = add_blob(store, b"good")
    assert not store.drop_blob(blob, inode=store.check_blob(blob).inode + 1)
    assert store.has_blob(blob, 4)


def test_quarantine_keeps_a_few_of_the_newest_and_is_trimmed_by_age(store: Store) -> None:
    blobs = [add_blob(store, f"number {n}".encode()) for n in range(MAX_FILES + 3)]
    for blob in blobs:
        store.drop_blob(blob)
    assert [name[11:75] for name in files_below(store, "quarantine")] == sorted(b.hex for b in blobs[3:])
    assert store.trim(idle_s=3600) == 0
    assert store.trim(idle_s=0) > 0
    assert files_below(store, "quarantine") == []


def test_what_is_not_ours_stays_in_quarantine(store: Store) -> None:
    (store.root / "quarantine" / "note").write_text("mine")
    store.trim(idle_s=0)
    assert files_below(store, "quarantine") == ["quarantine/note"]


def test_the_bytes_of_a_dropped_blob_that_a_tree_links_are_still_there(store: Store) -> None:
    tree = add_tree(store, {"a": b"good"})
    store.drop_blob(digest_of(b"good"))
    store.trim(idle_s=0)
    assert (store.tree_path(tree.digest) / "a").read_bytes() == b"good"


def test_a_lack_of_descriptors_says_nothing_of_the_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = add_blob(store, b"good")

    def refuse(path: Path) -> int:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(hashing, "_open_past_cache", refuse)
    with pytest.raises(DiskError, match="Too many open files"):
        store.check_blob(blob)
