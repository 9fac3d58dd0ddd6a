"""What the driver checks and clears away before it serves."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from api.errors import InvalidRequest, MountFailed
from csi.config import Config, parse_endpoint
from csi.mountinfo import Mount
from csi.server import check_node, remove_stale_socket


def pretend_mount(monkeypatch: pytest.MonkeyPatch, point: Path, *, shared: bool) -> None:
    mounts = (Mount("8:1", "/", str(point), frozenset({"rw"}), shared=shared),)
    monkeypatch.setattr("csi.server.read_mounts", lambda: mounts)


def test_endpoint_is_a_unix_socket() -> None:
    assert parse_endpoint("unix:///csi/csi.sock") == Path("/csi/csi.sock")
    assert parse_endpoint("unix:/csi/csi.sock") == Path("/csi/csi.sock")


@pytest.mark.parametrize(
    "text", ["", "/csi/csi.sock", "tcp://0.0.0.0:1", "unix:csi.sock", "unix://csi.sock", "unix:///" + "x" * 200]
)
def test_other_endpoints_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_endpoint(text)


def test_stale_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "csi.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    remove_stale_socket(path)
    assert not path.exists()
    remove_stale_socket(path)


def test_file_in_the_sockets_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "csi.sock"
    path.write_text("not a socket")
    with pytest.raises(InvalidRequest):
        remove_stale_socket(path)
    assert path.exists()


def test_pods_folder_whose_mounts_stay_in_the_container_is_refused(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise pods would start with an empty folder."""
    pretend_mount(monkeypatch, config.kubelet_dir / "pods", shared=False)
    with pytest.raises(MountFailed) as caught:
        check_node(config)
    assert "Bidirectional" in caught.value.hint


def test_pods_folder_that_is_shared_is_taken(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_mount(monkeypatch, config.kubelet_dir / "pods", shared=True)
    check_node(config)


def test_kernel_without_mount_setattr_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csi.server.kernel_has_mount_calls", lambda: False)
    with pytest.raises(MountFailed) as caught:
        check_node(config)
    assert "5.12" in caught.value.hint


def test_kubelet_root_behind_a_symbolic_link_is_refused(config: Config, tmp_path: Path) -> None:
    """The mount table would name its targets differently from kubelet."""
    link = tmp_path / "link"
    link.symlink_to(config.kubelet_dir)
    with pytest.raises(InvalidRequest):
        check_node(dataclasses.replace(config, kubelet_dir=link))


def test_kubelet_root_without_pods_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        check_node(dataclasses.replace(config, kubelet_dir=tmp_path / "nothing"))
