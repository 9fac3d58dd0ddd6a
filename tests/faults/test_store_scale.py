"""Numbers that no model has yet: the store takes them, in bounded time."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from api.digest import Digest
from api.errors import InsufficientCache
from api.tree import MAX_FILES, Tree, TreeFile
from cache.store import Store

SHM = Path("/dev/shm")
BATCH = 2000


@pytest.mark.skipif(not os.access(SHM, os.W_OK), reason="needs a tmpfs: mount -t tmpfs tmpfs /dev/shm")
def test_the_most_files_a_model_may_have_are_stored_read_and_removed(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=SHM) as folder, Store.open(Path(folder, "cache")) as store:
        items = [(Digest(hashlib.sha256(data).hexdigest()), data) for data in (b"%d" % n for n in range(MAX_FILES))]
        for at in range(0, MAX_FILES, BATCH):
            store.commit_small(items[at : at + BATCH])
        tree = Tree.of(TreeFile(f"{n % 100}/{n}", len(data), digest) for n, (digest, data) in enumerate(items))
        store.publish_tree(tree)
        assert store.tree(tree.digest) == tree
        store.remove_tree(tree.digest)
        assert store.trees() == []
        assert not any(store.has_blob(digest, len(data)) for digest, data in items[::1000])


def test_a_sparse_terabyte_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    with Store.open(tmp_path / "cache") as store:
        size = store.disk().bytes_free + (1 << 40)
        with pytest.raises(InsufficientCache) as refused:
            store.ingest(Digest("0" * 64), size=size, chunk_bytes=16 << 20)
        assert refused.value.missing_bytes >= 1 << 40
        assert list(store.layout.ingests.iterdir()) == []
