"""Pins hold a tree from before the mount until after the unmount; records remember pulls and uses. Both outlive us."""

import time
from pathlib import Path

import pytest

from api.errors import InUse, InvalidRequest, NotFound
from cache.store import Pin, PullRecord, Store
from tests.unit.store.samples import add_tree, files_below, tree_of

ONE, TWO = "1" * 64, "2" * 64


def test_pins_survive_a_restart(root: Path) -> None:
    with Store.open(root) as store:
        tree = add_tree(store, {"a": b"a"})
        store.pin(ONE, tree=tree.digest, note={"pod": "default/x"})
    with Store.open(root) as store:
        assert store.pins() == {ONE: Pin(ONE, tree.digest, {"pod": "default/x"})}


def test_a_tree_stays_until_its_last_pin_is_gone(store: Store) -> None:
    tree = add_tree(store, {"a": b"a"})
    store.pin(ONE, tree=tree.digest, note={})
    store.pin(TWO, tree=tree.digest, note={})
    store.unpin(ONE)
    with pytest.raises(InUse, match="by a publication"):
        store.remove_tree(tree.digest)
    store.unpin(TWO)
    assert store.remove_tree(tree.digest) > 0


def test_pinning_again_is_fine_and_takes_the_new_note(store: Store) -> None:
    tree = add_tree(store, {"a": b"a"})
    store.pin(ONE, tree=tree.digest, note={"n": "1"})
    store.pin(ONE, tree=tree.digest, note={"n": "1"})
    store.pin(ONE, tree=tree.digest, note={"n": "2"})
    assert store.pins()[ONE].note == {"n": "2"}


def test_a_publication_holds_one_tree(store: Store) -> None:
    store.pin(ONE, tree=add_tree(store, {"a": b"a"}).digest, note={})
    with pytest.raises(InUse):
        store.pin(ONE, tree=add_tree(store, {"b": b"b"}).digest, note={})


def test_pinning_reads_no_pin_of_another(store: Store) -> None:
    """A node has hundreds, and kubelet waits for each mount."""
    tree = add_tree(store, {"a": b"a"})
    (store.layout.pins / TWO).mkdir()  # reading it would fail
    store.pin(ONE, tree=tree.digest, note={})
    (store.layout.pins / TWO).rmdir()
    assert store.pins().keys() == {ONE}


def test_an_absent_tree_cannot_be_pinned(store: Store) -> None:
    with pytest.raises(NotFound):
        store.pin(ONE, tree=tree_of({"a": b"a"}).digest, note={})
    assert store.pins() == {}


@pytest.mark.parametrize("id", ["", "../../etc/passwd", "A" * 64, "1" * 63, "1" * 64 + "\n"])
def test_an_id_that_is_not_64_hex_digits_is_refused(store: Store, id: str) -> None:  # noqa: A002
    tree = add_tree(store, {"a": b"a"})
    with pytest.raises(InvalidRequest):
        store.pin(id, tree=tree.digest, note={})
    with pytest.raises(InvalidRequest):
        store.unpin(id)


def test_unpinning_what_is_not_pinned_says_so(store: Store) -> None:
    assert not store.unpin(ONE)


def test_while_a_pin_cannot_be_read_nothing_is_removed(store: Store) -> None:
    tree = add_tree(store, {"a": b"a"})
    (store.root / "pins" / ONE).write_bytes(b"\0\0")
    assert store.pins() == {}
    with pytest.raises(InUse, match="cannot be read"):
        store.remove_tree(tree.digest)
    assert store.unpin(ONE)
    store.remove_tree(tree.digest)


def test_a_pull_record_is_replaced_listed_and_forgotten(root: Path) -> None:
    with Store.open(root) as store:
        tree = add_tree(store, {"a": b"a"})
        old = PullRecord("oci://host/a/b:v1", "sha256:1", tree.digest, "oci://host/a/b@sha256:1")
        new = PullRecord("oci://host/a/b:v1", "sha256:2", tree.digest, "oci://host/a/b@sha256:2")
        store.record_pull(old)
        store.record_pull(new)
    with Store.open(root) as store:
        assert store.pull_records() == [new]
        store.forget(new.key)
        store.forget(new.key)
        assert store.pull_records() == []
        assert store.tree(tree.digest) == tree


def test_removing_a_tree_removes_its_records(store: Store) -> None:
    tree, other = add_tree(store, {"a": b"a"}), add_tree(store, {"b": b"b"})
    for key, of in (("k1", tree), ("k2", tree), ("k3", other)):
        store.record_pull(PullRecord(key, "r", of.digest, "s"))
    store.touch(tree.digest)
    store.remove_tree(tree.digest)
    assert [record.key for record in store.pull_records()] == ["k3"]
    assert len(files_below(store, "records")) == 2


def test_an_unreadable_record_counts_as_absent(store: Store) -> None:
    tree = add_tree(store, {"a": b"a"})
    store.record_pull(PullRecord("k", "r", tree.digest, "s"))
    store.touch(tree.digest)
    for path in (store.root / "records" / "pulls", store.root / "records" / "used"):
        next(path.iterdir()).write_bytes(b"{")
    assert store.pull_records() == []
    assert store.last_used(tree.digest) is None


def test_the_last_use_is_remembered(root: Path) -> None:
    before = time.time()
    with Store.open(root) as store:
        tree = add_tree(store, {"a": b"a"})
        assert store.last_used(tree.digest) is None
        store.touch(tree.digest)
    with Store.open(root) as store:
        assert before <= (store.last_used(tree.digest) or 0) <= time.time()
