"""Opening a root settles whatever the last owner left, and touches nothing that it does not know."""

import os
from pathlib import Path

from cache.store import Store
from tests.unit.store.samples import CHUNK, add_blob, add_tree, digest_of, files_below, put_chunks


def test_temporary_files_and_half_built_or_half_removed_trees_go(root: Path) -> None:
    with Store.open(root) as store:
        tree = add_tree(store, {"a/b": b"x"})
    for name in (f".new-{'0' * 64}", f".trash-{'0' * 64}-12ab"):
        folder = root / "trees" / name / "deep"
        folder.mkdir(parents=True)
        os.link(root / "trees" / tree.digest.hex / "a" / "b", folder / "b")
        folder.chmod(0o555)
    (root / "scratch" / "half").write_bytes(b"half")
    with Store.open(root) as store:
        assert [path.name for path in (root / "trees").iterdir()] == [tree.digest.hex]
        assert files_below(store, "scratch") == []
        assert store.tree(tree.digest) == tree


def test_notes_about_absent_trees_go(root: Path) -> None:
    with Store.open(root) as store:
        store.touch(digest_of(b"gone"))
    (root / "records" / "trees" / digest_of(b"gone").hex).write_text("listing")
    with Store.open(root) as store:
        assert files_below(store, "records") == []


def test_an_unfinished_ingest_is_kept_and_what_a_commit_left_goes(root: Path) -> None:
    data = os.urandom(2 * CHUNK)
    with Store.open(root) as store:
        with store.ingest(digest_of(data), size=len(data), chunk_bytes=CHUNK) as ingest:
            put_chunks(ingest, data, 1)
        done = add_blob(store, b"done")
        (root / "ingest" / done.hex).mkdir()
        (root / "ingest" / done.hex / "chunks.journal").touch()
        (root / "ingest" / digest_of(b"empty").hex).mkdir()
    with Store.open(root) as store:
        assert [path.name for path in (root / "ingest").iterdir()] == [digest_of(data).hex]
        with store.ingest(digest_of(data), size=len(data), chunk_bytes=CHUNK) as ingest:
            assert ingest.have() == {1}


def test_a_blob_that_no_tree_links_is_kept_and_counted(root: Path) -> None:
    data = os.urandom(1 << 20)
    with Store.open(root) as store:
        digest = add_blob(store, data)
    with Store.open(root) as store:
        assert store.has_blob(digest, len(data))
        assert store.usage().used >= len(data)


def test_names_that_are_not_ours_are_left_alone(root: Path) -> None:
    Store.open(root).close()
    for foreign in (root / "trees" / "README", root / "ingest" / "notes", root / "blobs" / "sha256" / "00" / "x"):
        foreign.write_text("mine")
    with Store.open(root) as store:
        store.trim(idle_s=0)
        assert len(files_below(store, "trees", "ingest", "blobs")) == 3
        assert store.trees() == []
