"""Removal, publication and pins race from several threads; whoever holds a pin holds the whole tree."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from api.errors import InUse, NotFound
from api.tree import Tree
from cache.store import Store, small
from tests.unit.store.samples import add_tree, digest_of, tree_of

FILES = {"model.bin": b"weights" * 100, "conf/config.json": b"{}"}
TREE = tree_of(FILES)
RACE_S = 1.5  # at least; longer on a machine that lets one of the threads wait
LONGEST_S = 30.0


def test_a_pinned_tree_is_whole_while_others_remove_and_publish_it(root: Path) -> None:
    seen: list[BaseException] = []
    counted = {"pinned": 0, "removed": 0, "published": 0}
    begun = time.monotonic()

    def racing() -> bool:
        elapsed = time.monotonic() - begun
        return not seen and elapsed < LONGEST_S and (elapsed < RACE_S or min(counted.values()) == 0)

    def repeat(action: Callable[[], None]) -> None:
        try:
            while racing():
                action()
        except BaseException as error:
            seen.append(error)

    with Store.open(root) as store:

        def publish() -> None:
            try:
                with store.claim(TREE.blobs):
                    store.commit_small([(digest_of(data), data) for data in FILES.values()])
                    store.publish_tree(TREE)
                counted["published"] += 1
            except InUse:
                raise AssertionError("a pinned tree is never damaged") from None

        def remove() -> None:
            try:
                counted["removed"] += bool(store.remove_tree(TREE.digest))
            except InUse:
                time.sleep(0.001)

        def mount(publication: str) -> None:
            try:
                store.pin(publication, tree=TREE.digest, note={})
            except NotFound:
                return
            counted["pinned"] += 1
            path = store.tree_path(TREE.digest)
            assert {name: (path / name).read_bytes() for name in FILES} == FILES
            store.unpin(publication)
            time.sleep(0.001)  # lets a removal see a moment without pins

        actions: list[Callable[[], None]] = [publish, remove, lambda: mount("a" * 64), lambda: mount("b" * 64)]
        threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == []
        assert min(counted.values()) > 0, f"no race took place: {counted}"
        assert store.pins() == {}


def test_a_small_file_that_two_pulls_bring_at_once_stays_the_one_that_a_tree_links(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tree of whoever came first would be damaged by the second, whose bytes are the same."""
    data, synced = b"the same bytes", small.syncfs
    published: list[Tree] = []

    def while_the_other_publishes(fd: int) -> None:
        monkeypatch.setattr(small, "syncfs", synced)
        published.append(add_tree(store, {"a": data}))
        synced(fd)

    monkeypatch.setattr(small, "syncfs", while_the_other_publishes)
    store.commit_small([(digest_of(data), data)])
    assert store.tree(published[0].digest) == published[0]
    assert list(store.layout.scratch.iterdir()) == []
