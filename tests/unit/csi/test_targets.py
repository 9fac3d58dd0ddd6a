"""Which target paths the driver takes."""

from __future__ import annotations

import hashlib
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from csi.targets import match_target, parse_target

KUBELET = PurePath("/var/lib/kubelet")
UID = "6a1c2f0e-6f5c-4b2c-9a52-3f1f5d0f6b11"
GOOD = f"/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~csi/weights/mount"


def test_path_of_kubelet_is_taken_apart() -> None:
    target = parse_target(GOOD, kubelet_dir=KUBELET)
    assert (target.pod_uid, target.volume) == (UID, "weights")
    assert target.folder == f"pods/{UID}/volumes/kubernetes.io~csi/weights"


def test_publication_id_is_the_hash_of_the_path() -> None:
    assert parse_target(GOOD, kubelet_dir=KUBELET).id == hashlib.sha256(GOOD.encode()).hexdigest()


def test_static_pod_and_persistent_volume_have_other_names() -> None:
    uid = "0123456789abcdef0123456789abcdef"
    path = f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/models.llama-3/mount"
    assert parse_target(path, kubelet_dir=KUBELET).volume == "models.llama-3"


def test_other_kubelet_root_is_a_matter_of_configuration() -> None:
    path = GOOD.replace("/var/lib/kubelet", "/data/kubelet")
    assert parse_target(path, kubelet_dir=PurePath("/data/kubelet")).pod_uid == UID
    with pytest.raises(InvalidRequest):
        parse_target(path, kubelet_dir=KUBELET)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "relative/path",
        "/etc",
        GOOD + "/",
        GOOD + "/..",
        GOOD + "\n",
        GOOD.replace("/mount", "/other"),
        GOOD.replace("weights", ".."),
        GOOD.replace("weights", "."),
        GOOD.replace("weights", ""),
        GOOD.replace("weights", "a/b"),
        GOOD.replace("weights", "WEIGHTS"),
        GOOD.replace("weights", "x" * 254),
        GOOD.replace(UID, ".."),
        GOOD.replace(UID, ""),
        GOOD.replace(UID, "a\0b"),
        GOOD.replace("kubernetes.io~csi", "kubernetes.io~secret"),
        GOOD.replace("/pods/", "//pods/"),
        GOOD.replace("/pods/", "/plugins/"),
        GOOD.replace("/pods/", "/pods/../pods/"),
        "/proc/self/root" + GOOD,
    ],
)
def test_other_paths_are_refused_without_being_repeated(path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_target(path, kubelet_dir=KUBELET)
    assert not path or path not in str(caught.value)


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_part_of_a_taken_path_can_lead_elsewhere(uid: str, volume: str) -> None:
    target = match_target(f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/{volume}/mount", kubelet_dir=KUBELET)
    if target is not None:
        assert (target.pod_uid, target.volume) == (uid, volume)
        for part in (uid, volume):
            assert part.isascii()
            assert part.isprintable()
            assert part[0] != "."
            assert "/" not in part
