"""A blob's whole life: ingested, committed, linked into a tree, pinned, removed."""

import hashlib
import os
from pathlib import Path

import pytest

from api.digest import Digest
from api.errors import DigestMismatch, InUse, NotFound
from api.tree import Tree, TreeFile
from cache.store import PullRecord, Store

CHUNK = 64 << 10


def digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def ingest(store: Store, data: bytes) -> Digest:
    digest = digest_of(data)
    with store.ingest(digest, size=len(data), chunk_bytes=CHUNK) as under_way:
        for index in range(under_way.chunks):
            part = memoryview(data)[index * CHUNK : (index + 1) * CHUNK]
            under_way.write(index * CHUNK, part)
            under_way.written(index)
        under_way.commit(digest)
    return digest


def tree_of(files: dict[str, bytes]) -> Tree:
    return Tree.of(TreeFile(path, len(data), digest_of(data)) for path, data in files.items())


def test_a_model_is_ingested_published_pinned_and_removed(tmp_path: Path) -> None:
    files = {"model.safetensors": os.urandom(3 * CHUNK + 17), "conf/config.json": b"{}", "empty": b""}
    tree = tree_of(files)
    publication = "ab" * 32
    with Store.open(tmp_path / "cache") as store:
        with store.claim(tree.blobs):
            ingest(store, files["model.safetensors"])
            store.commit_small([(digest_of(b"{}"), b"{}"), (digest_of(b""), b"")])
            path = store.publish_tree(tree)
        assert {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()} == files
        assert store.tree(tree.digest) == tree
        assert store.trees() == [tree.digest]

        store.record_pull(PullRecord("key", "sha256:1", tree.digest, "oci://host/repo"))
        assert [r.key for r in store.pull_records()] == ["key"]
        store.touch(tree.digest)
        assert store.last_used(tree.digest) is not None

        store.pin(publication, tree=tree.digest, note={"model": "a/b"})
        assert store.pins()[publication].note == {"model": "a/b"}
        with pytest.raises(InUse):
            store.remove_tree(tree.digest)
        assert store.verify_tree(tree.digest) == []
        assert store.unpin(publication)
        assert store.remove_tree(tree.digest) >= len(files["model.safetensors"])
        assert store.tree(tree.digest) is None
        assert not store.has_blob(digest_of(b"{}"), 2)
        with pytest.raises(NotFound):
            store.pin(publication, tree=tree.digest, note={})


def test_bytes_with_another_digest_are_discarded(tmp_path: Path) -> None:
    wanted = digest_of(b"right")
    with Store.open(tmp_path / "cache") as store:
        under_way = store.ingest(wanted, size=5, chunk_bytes=CHUNK)
        under_way.write(0, memoryview(b"wrong"))
        under_way.written(0)
        with pytest.raises(DigestMismatch):
            under_way.commit(digest_of(b"wrong"))
        assert not store.has_blob(wanted, 5)
        assert list((store.root / "ingest").iterdir()) == []
