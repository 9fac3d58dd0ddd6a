"""Space is promised before it is needed, counted once an inode, and given back."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from api.errors import InsufficientCache
from cache.store import Store
from cache.store.capacity import UNLIMITED
from tests.unit.store.samples import CHUNK, add_blob, add_tree, digest_of, put_chunks

BIG = 1 << 60
A, B = digest_of(b"a"), digest_of(b"b")


def test_a_blob_larger_than_the_disk_is_refused_up_front_with_what_is_missing(store: Store) -> None:
    with pytest.raises(InsufficientCache, match=r"\d+ are missing") as refused:
        store.ingest(A, size=BIG, chunk_bytes=CHUNK)
    assert "warmset rm" in refused.value.hint
    assert list((store.root / "ingest").iterdir()) == []


def test_claims_are_added_up_and_given_back(store: Store) -> None:
    most = store.usage().free * 2 // 3
    with store.claim({A: most}):
        assert store.usage().reserved == most
        with pytest.raises(InsufficientCache), store.claim({B: most}):
            pass
        with store.claim({A: most}):  # the same blob is needed once
            assert store.usage().reserved == most
        assert store.usage().reserved == most
    assert store.usage().reserved == 0


def test_bytes_that_are_here_need_no_space(store: Store) -> None:
    data = os.urandom(4 * CHUNK)
    digest = add_blob(store, data)
    with store.claim({digest: len(data)}):
        assert store.usage().reserved == 0


def test_an_ingest_under_a_claim_is_not_counted_twice(store: Store) -> None:
    data = os.urandom(4 * CHUNK)
    size = len(data)
    with store.claim({digest_of(data): size}), store.ingest(digest_of(data), size=size, chunk_bytes=CHUNK) as ingest:
        usage = store.usage()
        assert usage.reserved + usage.used >= size
        assert usage.reserved in (0, size), "allocated, or still promised where the file system cannot preallocate"
        put_chunks(ingest, data, 0, 1, 2, 3)
        ingest.commit(digest_of(data))
        assert store.usage().reserved == 0


def test_space_above_the_high_watermark_is_never_promised(root: Path) -> None:
    with Store.open(root, watermarks=replace(UNLIMITED, high=0.0)) as store:
        assert store.usage().free == 0
        with pytest.raises(InsufficientCache), store.claim({A: 1}):
            pass


def test_a_file_in_two_trees_is_counted_once(store: Store) -> None:
    data = os.urandom(256 << 10)
    add_tree(store, {"a": data})
    before = store.usage()
    add_tree(store, {"b": data, "c": data})
    assert store.usage().used - before.used < 64 << 10
    assert before.used >= 256 << 10
    assert before.capacity > before.free > 0


def test_a_claimed_blob_is_begun_without_another_look_at_the_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.claim({A: CHUNK, B: CHUNK}):
        monkeypatch.setattr("cache.store.space.measure_disk", None)
        with store.ingest(A, size=CHUNK, chunk_bytes=CHUNK) as ingest:
            assert ingest.have() == frozenset()


def test_trim_frees_what_nothing_needs(store: Store) -> None:
    tree = add_tree(store, {"a": b"linked"})
    loose, claimed = add_blob(store, os.urandom(64 << 10)), add_blob(store, os.urandom(CHUNK))
    with store.ingest(A, size=4 * CHUNK, chunk_bytes=CHUNK) as left:
        left.write(0, memoryview(bytes(CHUNK)))
    running = store.ingest(B, size=CHUNK, chunk_bytes=CHUNK)
    with store.claim({claimed: CHUNK}):
        assert store.trim(idle_s=3600) == 0
        assert store.trim(idle_s=0) >= 64 << 10
    assert not store.has_blob(loose, 64 << 10)
    assert store.has_blob(claimed, CHUNK)
    assert store.tree(tree.digest) == tree
    assert [path.name for path in (store.root / "ingest").iterdir()] == [B.hex]
    running.discard()
