"""A cache is removed only while nothing uses it, and then nothing that is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.errors import InUse, NotFound
from cache.store import Store
from cache.store.purge import mounts_of, purge
from tests.unit.store.samples import add_tree

PIN = "0" * 64
TREE = "ab" * 32


def mount(point: str, *, shows: str, device: str = "8:1") -> str:
    return f"36 35 {device} {shows} {point} rw,noatime master:1 - ext4 /dev/sda1 rw"


HOST = mount("/", shows="/")
POD = mount("/var/lib/kubelet/pods/x/mount", shows=f"/var/lib/warmset/trees/{TREE}")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([HOST], []),
        ([HOST, POD], ["/var/lib/kubelet/pods/x/mount"]),
        ([HOST, mount("/mnt", shows=f"/var/lib/warmset/trees/{TREE}", device="8:2")], []),
        ([HOST, mount("/var/lib/warmset/trees", shows="/", device="0:5")], ["/var/lib/warmset/trees"]),
        ([HOST, mount("/var/lib/warmset", shows="/", device="9:0")], []),
        (
            [
                HOST,
                mount("/var/lib/warmset", shows="/", device="9:0"),
                mount("/a\\040b", shows=f"/trees/{TREE}", device="9:0"),
            ],
            ["/a b"],
        ),
        ([HOST, mount("/var/lib/warmset-other/x", shows="/var/lib/warmset-other/trees/x")], []),
    ],
    ids=["none", "a pod", "of another disk", "over a part", "the disk itself", "a pod of an own disk", "a neighbour"],
)
def test_mounts_of_a_cache_are_found_in_the_mount_table(lines: list[str], found: list[str]) -> None:
    assert mounts_of(Path("/var/lib/warmset"), mountinfo="\n".join(lines)) == found


def test_a_pinned_cache_stays(root: Path) -> None:
    with Store.open(root) as store:
        tree = add_tree(store, {"a": b"a"})
        store.pin(PIN, tree=tree.digest, note={})
    with pytest.raises(InUse):
        purge(root)
    with Store.open(root) as store:
        assert store.tree(tree.digest) == tree


def test_a_pin_that_cannot_be_read_holds_the_cache(root: Path) -> None:
    with Store.open(root) as store:
        (store.layout.pins / PIN).write_bytes(b"\0")
    with pytest.raises(InUse):
        purge(root)


def test_a_folder_that_is_no_cache_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotFound):
        purge(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_looks_like_ours_but_is_not_stays(root: Path) -> None:
    with Store.open(root) as store:
        add_tree(store, {"a": b"a"})
        foreign = [
            store.layout.trees / "my-model",
            store.layout.blobs / "00" / "notes",
            store.layout.quarantine / f"{TREE}.txt",
            root / "records" / "other",
        ]
    for path in foreign:
        path.write_text("mine")
    assert set(purge(root).kept) == {"trees", "blobs", "quarantine", "records"}
    assert {p for p in root.rglob("*") if p.is_file()} == set(foreign)


def test_a_purge_that_was_cut_short_is_a_cache_that_can_be_purged(root: Path) -> None:
    with Store.open(root) as store:
        add_tree(store, {"a": b"a"})
        for path in store.layout.uses.iterdir():
            path.unlink()
        store.layout.pulls.rmdir()
    purge(root)
    assert not root.exists()
