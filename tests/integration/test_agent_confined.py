"""The agent works as the chart confines it: not root, no capabilities, nothing writable but its cache and socket."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from demo.group import FULL_DISK
from tests.support.processes import Server, free_port
from tests.support.registry import HOW_TO_GET, Registry, registry_missing

UID = 65532  # deploy/Dockerfile
WARMSET = Path(sys.executable).with_name("warmset")

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0, reason="needs root, to make a mount namespace and drop rights: run with sudo"
    ),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv and unshare: apt-get install util-linux"),
    pytest.mark.skipif(registry_missing(), reason=HOW_TO_GET),
]

# dac_read_search lets the interpreter be found below root's home, where CI may keep it; it allows no write.
CONFINED = textwrap.dedent("""
    set -e
    mount -t tmpfs -o uid={uid},gid={uid},mode=0755 cache {root}
    mount -t tmpfs -o mode=0777 socket {socket}
    findmnt --list --noheadings --output TARGET --types ext4,xfs,btrfs,overlay,tmpfs | while read -r target; do
        case "$target" in {root}|{socket}) ;; *) mount -o remount,ro,bind "$target" || true;; esac
    done
    if touch {folder}/writable 2>/dev/null; then echo 'the root filesystem can be written'; exit 3; fi
    exec setpriv --reuid {uid} --regid {uid} --clear-groups --no-new-privs --bounding-set=-all,+dac_read_search \\
        --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search {warmset} agent --config {config}
""")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below tmp_path: another user must be able to go there."""
    with tempfile.TemporaryDirectory(prefix="warmset-confined-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_an_agent_without_any_right_but_its_cache_pulls_a_model(
    registry: Registry, tmp_path: Path, folder: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(os.urandom(3 << 20))
    (model / "config.json").write_text("{}")
    reference = f"oci://{registry.host}/models/small:v1"
    subprocess.run([WARMSET, "push", model, reference, "--plain-http"], check=True, capture_output=True, timeout=60)

    port = free_port()
    root, socket = folder / "cache", folder / "run"
    root.mkdir()
    socket.mkdir()
    config = folder / "agent.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "root": str(root),
                "watermarks": FULL_DISK,
                "listen": f"127.0.0.1:{port}",
                "socket": str(socket / "agent.sock"),
                "models": [{"name": "small", "source": reference}],
                "plain_http": [registry.host],
            }
        )
    )
    script = CONFINED.format(uid=UID, root=root, socket=socket, folder=folder, warmset=WARMSET, config=config)
    agent = Server(["unshare", "--mount", "--propagation=private", "bash", "-c", script], log=tmp_path / "agent.log")
    try:
        agent.wait_until(lambda: state(port) == "Ready", what="the agent's model", within_s=30)
        privileges = Path(f"/proc/{agent.process.pid}/status").read_text()
        assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in privileges
        assert "NoNewPrivs:\t1" in privileges
    finally:
        agent.stop()
    assert agent.process.returncode == 0, agent.tail()


def state(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/v1/status")
        models = json.load(connection.getresponse()).get("models", [])
    except OSError:
        return ""
    finally:
        connection.close()
    return models[0]["state"] if models else ""
