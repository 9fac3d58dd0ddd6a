"""A cluster without CSI: a real agent shows an open model, and a bind mount of its path, as kubelet makes, works."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from demo.group import FULL_DISK
from tests.support.csi_node import why_no_mounts
from tests.support.processes import Server, free_port, warmset

pytestmark = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(os.urandom(1 << 20))
    path = tmp_path / "agent.yaml"
    settings = {
        "root": str(tmp_path / "cache"),
        "watermarks": FULL_DISK,
        "listen": f"127.0.0.1:{free_port()}",
        "models": [{"name": "team-a/llama", "source": f"file://{model}"}],
        "host_path": True,
    }
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def agent(config: Path, tmp_path: Path) -> Iterator[Server]:
    server = start(config)
    yield server
    server.stop()


def start(config: Path) -> Server:
    server = warmset("agent", f"--config={config}", log=config.with_name("agent.log"))
    server.wait_until(lambda: bool(shown(config.parent)), what="the model's path")
    return server


def shown(folder: Path) -> list[Path]:
    """Paths that a hostPath volume of type Directory would find."""
    return [path for path in (folder / "cache/open/team-a/llama").glob("*") if path.is_dir()]


def as_a_container_sees(path: Path, script: str) -> str:
    """Output of a shell with the folder bound read-only at /mnt, in a mount namespace of its own."""
    bind = f"mount --bind {path} /mnt && mount -o remount,ro,bind /mnt && cd /mnt && {script}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", bind], capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


def test_a_pod_reads_the_model_at_the_path_and_cannot_change_it(agent: Server, tmp_path: Path) -> None:
    (path,) = shown(tmp_path)
    expected = subprocess.run(
        ["sha256sum", "model.safetensors"], cwd=tmp_path / "model", capture_output=True, text=True
    )
    assert as_a_container_sees(path, "sha256sum model.safetensors") == expected.stdout
    assert "Read-only file system" in as_a_container_sees(path, "touch new")


def test_path_and_pin_outlast_a_kill_of_the_agent(agent: Server, config: Path, tmp_path: Path) -> None:
    agent.process.kill()
    agent.process.wait()
    before = shown(tmp_path)
    assert before
    pins = {pin.name for pin in (tmp_path / "cache/pins").iterdir()}
    assert len(pins) == 1
    again = start(config)
    try:
        assert shown(tmp_path) == before
        assert {pin.name for pin in (tmp_path / "cache/pins").iterdir()} == pins
    finally:
        again.stop()
