"""A tree appears whole, read-only and made of its blobs, or not at all; a damaged one is noticed and replaced."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import InUse, NotFound, WarmsetError
from cache.store import Store
from tests.unit.store.samples import add_blob, add_tree, digest_of, files_below, tree_of

FILES = {"model.safetensors": b"weights", "tokenizer/vocab/a.txt": b"a", "tokenizer/b.txt": b"b", "same.txt": b"b"}
PIN = "0" * 64

_names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
_trees = st.dictionaries(
    st.lists(_names, min_size=1, max_size=5).map("/".join), st.binary(max_size=20), min_size=1, max_size=8
)


def corrupt(path: Path) -> None:
    """Change a byte in place: what a failing disk does."""
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    path.chmod(0o444)


@given(_trees)
@settings(max_examples=25, deadline=None)
def test_any_safe_tree_is_published_exactly_and_removed_without_a_trace(files: dict[str, bytes]) -> None:
    try:
        tree = tree_of(files)
    except WarmsetError:
        return  # names that the vocabulary refuses
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder, "cache")) as store:
        store.commit_small([(digest_of(data), data) for data in files.values()])
        path = store.publish_tree(tree)
        assert {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()} == files
        assert store.tree(tree.digest) == tree
        assert store.verify_tree(tree.digest) == []
        store.remove_tree(tree.digest)
        assert files_below(store, "trees", "blobs", "records", "scratch", "ingest") == []


def test_every_folder_is_0555_and_every_file_is_its_blob(store: Store) -> None:
    path = store.tree_path(add_tree(store, FILES).digest)
    for entry in [path, *path.rglob("*")]:
        assert not entry.is_symlink()
        assert entry.stat().st_mode & 0o777 == (0o555 if entry.is_dir() else 0o444)
    assert path.joinpath("same.txt").samefile(store.blob_path(digest_of(b"b")))


def test_publishing_again_changes_nothing(store: Store) -> None:
    tree = add_tree(store, FILES)
    inode = store.tree_path(tree.digest).stat().st_ino
    assert store.publish_tree(tree) == store.tree_path(tree.digest)
    assert store.tree_path(tree.digest).stat().st_ino == inode


def test_a_missing_blob_is_named_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(NotFound, match=str(digest_of(b"weights"))):
        store.publish_tree(tree_of(FILES))
    assert list((store.root / "trees").iterdir()) == []


def test_an_absent_tree_reads_as_none_and_frees_nothing(store: Store) -> None:
    digest = tree_of(FILES).digest
    assert store.tree(digest) is None
    assert store.remove_tree(digest) == 0
    with pytest.raises(NotFound):
        store.verify_tree(digest)


@pytest.mark.parametrize("damage", ["absent", "garbage", "of another tree"])
def test_a_lost_listing_is_rebuilt_from_the_folder(store: Store, damage: str) -> None:
    tree = add_tree(store, FILES)
    listing = store.root / "records" / "trees" / tree.digest.hex
    good = listing.read_bytes()
    if damage == "absent":
        listing.unlink()
    else:
        listing.write_bytes(b"\xff\x00" if damage == "garbage" else tree_of({"x": b"x"}).listing.encode())
    assert store.tree(tree.digest) == tree
    assert listing.read_bytes() == good


def test_a_tree_with_a_file_gone_is_not_there_until_it_is_published_again(store: Store) -> None:
    tree = add_tree(store, FILES)
    path = store.tree_path(tree.digest)
    path.chmod(0o755)
    (path / "same.txt").unlink()
    assert store.tree(tree.digest) is None
    assert [file.path for file in store.verify_tree(tree.digest)] == ["same.txt"]
    store.publish_tree(tree)
    assert store.tree(tree.digest) == tree
    assert (path / "same.txt").read_bytes() == b"b"


def test_rotten_bytes_are_found_dropped_and_fetched_into_another_file(store: Store) -> None:
    tree = add_tree(store, FILES)
    file = store.tree_path(tree.digest) / "same.txt"
    corrupt(file)
    seen: list[int] = []
    assert [f.path for f in store.verify_tree(tree.digest, on_bytes=seen.append)] == ["same.txt", "tokenizer/b.txt"]
    assert sum(seen) == len(b"weightsab"), "a blob is read once"
    assert store.drop_blob(digest_of(b"b"))
    assert store.tree(tree.digest) is None
    add_blob(store, b"b")
    assert store.tree(tree.digest) is None, "it still links the rotten file"
    store.publish_tree(tree)
    assert store.verify_tree(tree.digest) == []
    assert file.read_bytes() == b"b"


def test_a_mounted_tree_is_mended_file_by_file_and_open_files_keep_what_they_opened(store: Store) -> None:
    tree = add_tree(store, FILES)
    path = store.tree_path(tree.digest)
    store.pin(PIN, tree=tree.digest, note={})
    folder, good = path.stat().st_ino, (path / "model.safetensors").stat().st_ino
    corrupt(path / "same.txt")
    with (path / "same.txt").open("rb") as opened:
        store.drop_blob(digest_of(b"b"))
        with pytest.raises(NotFound):
            store.publish_tree(tree)
        store.commit_small([(digest_of(b"b"), b"b")])
        store.publish_tree(tree)
        assert opened.read() == b"c"
    assert (path / "same.txt").read_bytes() == (path / "tokenizer" / "b.txt").read_bytes() == b"b"
    assert path.stat().st_ino == folder
    assert (path / "model.safetensors").stat().st_ino == good
    assert all(entry.stat().st_mode & 0o777 == 0o555 for entry in [path, *path.rglob("*")] if entry.is_dir())
    assert store.tree(tree.digest) == tree
    assert files_below(store, "scratch", "records/mending") == []


def test_a_mounted_tree_that_lost_a_folder_is_left_as_it_is(store: Store) -> None:
    tree = add_tree(store, FILES)
    store.pin(PIN, tree=tree.digest, note={})
    path = store.tree_path(tree.digest)
    path.chmod(0o755)
    (path / "tokenizer").chmod(0o755)
    (path / "tokenizer").rename(store.root / "elsewhere")
    with pytest.raises(InUse):
        store.publish_tree(tree)


def test_a_kill_in_the_middle_of_mending_is_settled_at_the_next_start(root: Path) -> None:
    with Store.open(root) as store:
        tree = add_tree(store, FILES)
        path = store.tree_path(tree.digest)
        (root / "records" / "mending" / tree.digest.hex).touch()
        (path / "tokenizer").chmod(0o755)
    with Store.open(root) as store:
        assert (path / "tokenizer").stat().st_mode & 0o777 == 0o555
        assert files_below(store, "records/mending") == []


def test_dropping_an_absent_blob_says_so(store: Store) -> None:
    assert not store.drop_blob(digest_of(b"never here"))


def test_a_blob_that_another_tree_links_stays(store: Store) -> None:
    first = add_tree(store, {"a": b"shared", "b": b"only in the first"})
    second = add_tree(store, {"c": b"shared"})
    store.remove_tree(first.digest)
    assert store.trees() == [second.digest]
    assert store.tree(second.digest) == second
    assert not store.has_blob(digest_of(b"only in the first"), 17)


def test_a_blob_that_a_running_pull_needs_stays(store: Store) -> None:
    tree = add_tree(store, FILES)
    with store.claim({digest_of(b"weights"): 7}):
        store.remove_tree(tree.digest)
        assert store.has_blob(digest_of(b"weights"), 7)
        assert not store.has_blob(digest_of(b"a"), 1)


def test_removing_says_how_much_the_disk_got_back(store: Store) -> None:
    tree = add_tree(store, {"a": os.urandom(64 << 10), "b": os.urandom(32 << 10)})
    before = store.usage().used
    freed = store.remove_tree(tree.digest)
    assert freed == 96 << 10
    assert before - store.usage().used >= freed
