"""An agent's root: what commands say while another process owns it, and what happens to one of another version."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
import yaml

from api.digest import Digest
from cache.store import Store
from demo.group import FULL_DISK
from tests.support.command import command, environment, warmset, warmset_json
from tests.support.fake_registry import FakeRegistry, Fault
from tests.support.processes import Server, free_port

WITHIN_S = 60.0
PIN = "ab" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def config(tmp_path: Path, root: Path) -> Path:
    """Of a stand-alone agent with one model."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(os.urandom(1 << 20))
    file = tmp_path / "agent.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "root": str(root),
                "watermarks": FULL_DISK,
                "listen": f"127.0.0.1:{free_port()}",
                "socket": str(tmp_path / "agent.sock"),
                "models": [{"name": "tiny", "source": f"file://{tmp_path / 'model'}"}],
            }
        )
    )
    return file


def start_agent(config: Path) -> Server:
    """Returns once it holds the model."""
    socket = config.with_name("agent.sock")

    def ready() -> bool:
        done = warmset("node", "--socket", socket, "-o", "json")
        return done.returncode == 0 and [m["state"] for m in json.loads(done.stdout)["models"]] == ["Ready"]

    server = Server(command("agent", "--config", config), log=config.with_name("agent.log"))
    server.wait_until(ready, what="the model on the node", within_s=WITHIN_S)
    return server


@pytest.fixture
def agent(config: Path) -> Iterator[Server]:
    server = start_agent(config)
    yield server
    server.stop()


def test_a_command_on_an_agent_s_root_says_at_once_whose_it_is_and_what_to_ask(agent: Server, root: Path) -> None:
    elsewhere = "oci://registry.example.com/m/other:v1"
    whose = f"error: StoreLocked: warmset agent (process {agent.process.pid}) owns the cache at {root}"
    for arguments in (("pull", elsewhere), ("import", "."), ("ls",), ("verify",), ("gc",), ("rm", elsewhere)):
        done = warmset(*arguments, "--root", root)
        assert done.returncode == 9, arguments
        assert done.stderr.startswith(whose), "it did not wait"
        assert "\nhint: ask it: warmset node" in done.stderr
    refused = warmset_json("purge", "--yes", "--root", root, code=9)
    assert whose.endswith(refused["error"]["message"])


@pytest.fixture
def stalled() -> Iterator[FakeRegistry]:
    """The first body stops in the middle until it is released."""
    with FakeRegistry() as registry:
        registry.add_model("m/tiny", "v1", {"model.safetensors": bytes(3 << 20)})
        registry.faults = [Fault(stall=True, cut_after=1000)]
        yield registry


def test_a_command_waits_for_another_command_and_says_for_which_and_how_long(stalled: FakeRegistry, root: Path) -> None:
    pull = command("pull", "--plain-http", "--root", root, f"oci://{stalled.host}/m/tiny:v1")
    with (
        subprocess.Popen(pull, env=environment(), stdout=PIPE, stderr=subprocess.DEVNULL, text=True) as first,
        stopping(first),
    ):
        until(lambda: any("/blobs/" in seen.path for seen in stalled.seen), what="the first pull's request")
        with subprocess.Popen(pull, env=environment(), stdout=PIPE, stderr=PIPE, text=True) as second, stopping(second):
            assert second.stderr is not None
            said = second.stderr.readline()
            assert said == f"warmset pull (process {first.pid}) uses {root}; waiting for it, at most 3600 s\n"
            stalled.released.set()
            path, _ = first.communicate(timeout=WITHIN_S)
            assert second.communicate(timeout=WITHIN_S)[0] == path
    assert (first.returncode, second.returncode) == (0, 0)


@contextmanager
def stopping(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


def until(check: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not check():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


@pytest.mark.parametrize(("version", "age"), [(0, "an older"), (2, "a newer")])
def test_a_root_of_another_version_is_refused_by_name_and_loses_nothing(
    config: Path, root: Path, tmp_path: Path, version: int, age: str
) -> None:
    """docs/operate.md, Upgrade and downgrade: also not a partial pull, nor a pin."""
    source = f"file://{tmp_path / 'model'}"
    start_agent(config).stop()
    tree = Path(warmset_json("pull", "--root", root, source)["path"])
    with Store.open(root) as store:
        store.pin(PIN, tree=store.trees()[0], note={})
        with store.ingest(Digest(hashlib.sha256(b"under way").hexdigest()), size=9, chunk_bytes=4096):
            pass
    identity = (root / ".cache-id").read_bytes()
    (root / ".cache-id").write_bytes(identity.replace(b'"format":1', b'"format":%d' % version))
    before = state_of(root)

    for arguments in (("agent", "--config", config), ("pull", source), ("ls",), ("gc",), ("purge", "--yes")):
        options = () if arguments[0] == "agent" else ("--root", root)
        done = warmset(*arguments, *options)
        assert done.returncode == 2, arguments
        assert f"error: UnknownFormat: the cache at {root} has format {version} of {age} version" in done.stderr
        assert "hint: nothing in it was touched" in done.stderr
    assert state_of(root) == before

    (root / ".cache-id").write_bytes(identity)
    shutil.rmtree(tmp_path / "model")
    assert warmset("verify", "--root", root, tree.name).returncode == 0
    with Store.open(root) as store:
        assert list(store.pins()) == [PIN]


def state_of(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Of every file: which one it is, when it was changed, and what it holds."""
    found = {path: path.stat() for path in root.rglob("*")}
    return {
        str(path): (status.st_ino, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path, status in found.items()
    }
