"""What the mount table says is published."""

from __future__ import annotations

from pathlib import PurePath

from csi.mountinfo import Mount
from csi.published import live, published_at
from csi.targets import parse_target

KUBELET = PurePath("/var/lib/kubelet")
CACHE = PurePath("/var/lib/warmset")
HEX = "ab" * 32
PATH = "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~csi/weights/mount"
TARGET = parse_target(PATH, kubelet_dir=KUBELET)
GUARDED = frozenset({"ro", "nosuid", "nodev", "relatime"})
ROOT = Mount("259:1", "/", "/", frozenset({"rw"}), shared=True)


def tree_mount(root: str, *, device: str = "259:1", point: str = PATH, options: frozenset[str] = GUARDED) -> Mount:
    return Mount(device, root, point, options, shared=True)


def test_nothing_is_published_where_nothing_is_mounted() -> None:
    assert published_at(TARGET, mounts=[ROOT], cache_root=CACHE) is None


def test_tree_of_a_cache_on_the_root_filesystem_is_recognised() -> None:
    found = published_at(TARGET, mounts=[ROOT, tree_mount(f"/var/lib/warmset/trees/{HEX}")], cache_root=CACHE)
    assert found is not None
    assert found.tree is not None
    assert found.tree.hex == HEX
    assert found.guarded


def test_tree_of_a_cache_on_its_own_disk_is_recognised() -> None:
    disk = Mount("259:7", "/", "/var/lib/warmset", frozenset({"rw"}), shared=True)
    mounts = [ROOT, disk, tree_mount(f"/trees/{HEX}", device="259:7")]
    assert [published.target.id for published in live(mounts, kubelet_dir=KUBELET, cache_root=CACHE)] == [TARGET.id]


def test_tree_of_a_cache_that_the_container_sees_as_a_bind_mount_is_recognised() -> None:
    overlay = Mount("0:40", "/", "/", frozenset({"rw"}), shared=False)
    bind = Mount("259:7", "/data/warmset", "/var/lib/warmset", frozenset({"ro"}), shared=False)
    mounts = [overlay, bind, tree_mount(f"/data/warmset/trees/{HEX}", device="259:7")]
    found = published_at(TARGET, mounts=mounts, cache_root=CACHE)
    assert found is not None
    assert found.tree is not None


def test_same_path_on_another_filesystem_is_no_tree_of_ours() -> None:
    mounts = [ROOT, tree_mount(f"/var/lib/warmset/trees/{HEX}", device="259:9")]
    found = published_at(TARGET, mounts=mounts, cache_root=CACHE)
    assert found is not None
    assert found.tree is None
    assert live(mounts, kubelet_dir=KUBELET, cache_root=CACHE) == []


def test_other_drivers_volume_is_not_live() -> None:
    mounts = [ROOT, tree_mount("/var/lib/other/volume")]
    assert live(mounts, kubelet_dir=KUBELET, cache_root=CACHE) == []


def test_deleted_tree_is_live_but_no_tree() -> None:
    """Its files may still be read: its pin must stay, and a republish must not take it for the model."""
    mounts = [ROOT, tree_mount(f"/var/lib/warmset/trees/{HEX}//deleted")]
    assert len(live(mounts, kubelet_dir=KUBELET, cache_root=CACHE)) == 1
    found = published_at(TARGET, mounts=mounts, cache_root=CACHE)
    assert found is not None
    assert found.tree is None


def test_writable_mount_is_not_guarded() -> None:
    options = frozenset({"rw", "nosuid", "nodev"})
    mounts = [ROOT, tree_mount(f"/var/lib/warmset/trees/{HEX}", options=options)]
    found = published_at(TARGET, mounts=mounts, cache_root=CACHE)
    assert found is not None
    assert not found.guarded


def test_of_stacked_mounts_the_last_is_what_the_pod_sees() -> None:
    mounts = [ROOT, tree_mount(f"/var/lib/warmset/trees/{HEX}"), tree_mount("/", device="0:99")]
    found = published_at(TARGET, mounts=mounts, cache_root=CACHE)
    assert found is not None
    assert found.tree is None


def test_target_with_a_mount_on_top_of_the_tree_stays_live() -> None:
    mounts = [ROOT, tree_mount(f"/var/lib/warmset/trees/{HEX}"), tree_mount("/", device="0:99")]
    assert len(live(mounts, kubelet_dir=KUBELET, cache_root=CACHE)) == 1


def test_tree_mounted_outside_kubelets_folder_is_no_publication() -> None:
    mounts = [ROOT, tree_mount(f"/var/lib/warmset/trees/{HEX}", point="/mnt/look")]
    assert live(mounts, kubelet_dir=KUBELET, cache_root=CACHE) == []
