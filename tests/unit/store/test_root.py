"""A root has one owner and one identity; the store notices when either is gone, and never takes a foreign folder."""

import os
import stat
import threading
from pathlib import Path

import pytest

from api.errors import CacheVolumeLost, InUse, InvalidRequest, StoreLocked, UnknownFormat
from cache.store import Store, mounts
from cache.store.identity import is_of_this_format
from tests.unit.store.samples import CHUNK, add_tree, digest_of, put_chunks


def test_a_second_owner_is_refused_and_the_first_goes_on(store: Store) -> None:
    with pytest.raises(StoreLocked, match=str(store.root)):
        Store.open(store.root)
    add_tree(store, {"a": b"a"})


def test_a_second_owner_may_wait_for_the_first(root: Path) -> None:
    first = Store.open(root)
    closing = threading.Event()

    def close() -> None:
        closing.set()
        first.close()

    threading.Timer(0.2, close).start()
    with Store.open(root, wait_s=60):
        assert closing.is_set()


def test_the_identity_stays_with_the_root(root: Path, tmp_path: Path) -> None:
    with Store.open(root) as store:
        first = store.cache_id
    with Store.open(root) as store, Store.open(tmp_path / "other") as other:
        assert store.cache_id == first != other.cache_id


@pytest.mark.parametrize("gone", [".cache-id", ".lock"])
def test_when_the_volume_is_lost_nothing_is_written(store: Store, gone: str) -> None:
    tree = add_tree(store, {"a": b"a"})
    data = b"more"
    ingest = store.ingest(digest_of(data), size=4, chunk_bytes=CHUNK)
    put_chunks(ingest, data, 0)
    (store.root / gone).unlink()
    for write in (
        lambda: store.ingest(digest_of(b"x"), size=1, chunk_bytes=CHUNK),
        lambda: ingest.commit(digest_of(data)),
        lambda: store.stage(),
        lambda: store.commit_small([(digest_of(b"x"), b"x")]),
        lambda: store.publish_tree(tree),
        lambda: store.remove_tree(tree.digest),
        lambda: store.pin("0" * 64, tree=tree.digest, note={}),
        lambda: store.touch(tree.digest),
    ):
        with pytest.raises(CacheVolumeLost, match="not the one that was opened"):
            write()
    ingest.close()


def test_another_cache_mounted_in_its_place_is_noticed(store: Store) -> None:
    (store.root / ".cache-id").write_text('{"id":"another","format":1}')
    with pytest.raises(CacheVolumeLost):
        store.touch(digest_of(b""))


@pytest.mark.parametrize(("version", "age"), [(0, "an older"), (2, "a newer")])
def test_a_root_of_another_version_is_refused_by_name(root: Path, version: int, age: str) -> None:
    Store.open(root).close()
    (root / ".cache-id").write_text(f'{{"id":"x","format":{version}}}')
    with pytest.raises(UnknownFormat, match=f"format {version} of {age} version"):
        Store.open(root)


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"id":1,"format":1}', '{"id":"x","format":true}', "\xff"])
def test_an_identity_that_cannot_be_read_is_refused_and_left(root: Path, said: str) -> None:
    Store.open(root).close()
    (root / ".cache-id").write_bytes(said.encode("latin-1"))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        Store.open(root)
    assert not is_of_this_format(root)
    assert (root / ".cache-id").read_bytes() == said.encode("latin-1")


def test_a_folder_that_holds_other_files_is_refused_untouched(root: Path) -> None:
    root.mkdir()
    (root / "thesis.tex").touch()
    with pytest.raises(InvalidRequest, match="holds files"):
        Store.open(root)
    assert [path.name for path in root.iterdir()] == ["thesis.tex"]


def test_a_fresh_file_system_is_accepted(root: Path) -> None:
    (root / "lost+found").mkdir(parents=True)
    Store.open(root).close()


def test_a_symbolic_link_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    root.symlink_to(tmp_path / "real")
    with pytest.raises(InvalidRequest, match="symbolic link"):
        Store.open(root)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p"])
def test_a_file_system_that_other_machines_see_is_refused_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """By a mountinfo: no test machine has a server."""
    told = tmp_path / "mountinfo"
    home = str(tmp_path / "net work").replace(" ", "\\040")
    told.write_text(
        f"22 1 0:20 / / rw - ext4 /dev/vda rw\n30 22 0:40 / {home} rw shared:1 master:2 - ext4 /dev/vdb rw\n"
        f"31 30 0:41 /export {home} rw,noatime shared:1 - {kind} server:/export rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTINFO", told)
    with pytest.raises(InvalidRequest, match=kind):
        Store.open(tmp_path / "net work" / "cache")
    assert not (tmp_path / "net work").exists()
    Store.open(tmp_path / "cache").close()


def test_everything_is_private_whatever_the_umask(root: Path) -> None:
    previous = os.umask(0)
    try:
        Store.open(root).close()
    finally:
        os.umask(previous)
    assert {stat.S_IMODE(p.stat().st_mode) for p in [root, *root.rglob("*")] if p.is_dir()} == {0o700}
    assert {stat.S_IMODE(p.stat().st_mode) for p in root.rglob("*") if p.is_file()} == {0o600}


def test_a_mount_point_whose_disk_is_not_mounted_is_refused_by_a_mark_in_it(root: Path) -> None:
    """docs/operate.md: a file in the folder below the mount keeps a cache from being made on the wrong disk."""
    root.mkdir()
    (root / ".not-mounted").touch()
    with pytest.raises(InvalidRequest):
        Store.open(root)
    assert [path.name for path in root.iterdir()] == [".not-mounted"]


def test_what_a_newer_version_may_have_added_is_left_alone(root: Path) -> None:
    with Store.open(root) as store:
        add_tree(store, {"a": b"a"})
    added = [root / "future", root / "records" / "future", root / "quarantine" / "future", root / "pins" / ".future"]
    for path in added:
        path.write_text("of another version")
    with Store.open(root) as store:
        store.trim(idle_s=0)
        with pytest.raises(InUse):  # a pin of that version may hold any tree
            store.remove_tree(store.trees()[0])
    assert all(path.read_text() == "of another version" for path in added)
