"""Small files of archives are written where the tree will have them, and the tree is right whatever became of that."""

from __future__ import annotations

import contextlib

import pytest

from cache.store import Store, small
from cache.store.draft import Draft
from tests.unit.store.samples import digest_of, files_below, tree_of

FILES = {"a/one": b"1", "a/b/two": b"22", "three": b"333"}


def write(store: Store, draft: Draft, files: dict[str, bytes]) -> None:
    with store.small_files(draft) as into:
        for path, data in files.items():
            assert into.add(data, path=path) == digest_of(data)


def published(store: Store, files: dict[str, bytes], draft: Draft) -> dict[str, bytes]:
    """What the published tree holds; every file MUST be its blob, and read-only."""
    tree = tree_of(files)
    path = store.publish_tree(tree, draft=draft)
    assert store.tree(tree.digest) == tree
    assert all(entry.stat().st_mode & 0o777 == 0o555 for entry in [path, *path.rglob("*")] if entry.is_dir())
    assert all(entry.stat().st_mode & 0o777 == 0o444 for entry in path.rglob("*") if entry.is_file())
    return {str(entry.relative_to(path)): entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}


def nothing_else(store: Store) -> bool:
    return files_below(store, "scratch") == [] and not any((store.root / "trees").glob(".*"))


def test_files_stay_where_they_were_written(store: Store) -> None:
    with store.draft() as draft:
        write(store, draft, FILES)
        inodes = {path: (draft.folder / path).stat().st_ino for path in FILES}
        assert published(store, FILES, draft) == FILES
    path = store.tree_path(tree_of(FILES).digest)
    assert {name: (path / name).stat().st_ino for name in FILES} == inodes
    assert nothing_else(store)


def test_other_files_of_the_tree_are_linked_to_them(store: Store) -> None:
    files = FILES | {"a/config.json": b"{}", "c/same": b"1"}
    store.commit_small([(digest_of(b"{}"), b"{}")])
    with store.draft() as draft:
        write(store, draft, FILES | {"c/same": b"1"})
        assert published(store, files, draft) == files


@pytest.mark.parametrize("files", [{"a/one": b"1"}, {"a/one": b"22", "other": b"1"}, {"a": b"1"}])
def test_a_draft_that_holds_more_than_the_tree_is_not_used(store: Store, files: dict[str, bytes]) -> None:
    with store.draft() as draft:
        write(store, draft, FILES)
        assert published(store, files, draft) == files
    assert nothing_else(store)


@pytest.mark.parametrize("second", ["a", "a/b", "a/b/c"])
def test_a_path_that_another_file_is_in_the_way_of_is_left_to_whoever_lists_the_tree(store: Store, second: str) -> None:
    with store.draft() as draft:
        write(store, draft, {"a/b": b"first"})
        write(store, draft, {second: b"second"})
        assert draft.files == {"a/b": digest_of(b"first")}
    assert store.has_blob(digest_of(b"second"), 6)


def test_a_blob_that_another_pull_brought_meanwhile_is_the_one_that_the_tree_links(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = small.syncfs

    def while_the_other_commits(fd: int) -> None:
        monkeypatch.setattr(small, "syncfs", synced)
        store.commit_small([(digest_of(b"1"), b"1")])
        synced(fd)

    monkeypatch.setattr(small, "syncfs", while_the_other_commits)
    with store.draft() as draft:
        write(store, draft, FILES)
        assert published(store, FILES, draft) == FILES
    assert nothing_else(store)


def test_a_damaged_blob_is_replaced(store: Store) -> None:
    store.blob_path(digest_of(b"1")).write_bytes(b"1 and more")
    with store.draft() as draft:
        write(store, draft, FILES)
        assert published(store, FILES, draft) == FILES


def test_nothing_stays_of_an_archive_that_broke_off(store: Store) -> None:
    with contextlib.suppress(RuntimeError), store.draft() as draft, store.small_files(draft) as into:
        into.add(b"1", path="a/one")
        raise RuntimeError
    assert nothing_else(store)
    assert files_below(store, "blobs") == []


def test_much_is_committed_before_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "COMMIT_BYTES", 3)
    with store.draft() as draft, store.small_files(draft) as into:
        for path, data in FILES.items():
            into.add(data, path=path)
        assert store.has_blob(digest_of(b"1"), 1)
        assert store.has_blob(digest_of(b"22"), 2)
