"""push, pull, ls, verify and rm as a user runs them, on a real registry: what they print, leave behind and end with."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.digest import Digest
from cache.store import Store
from cache.store.journal import boot_id, chunk_count, parse
from cache.transfer.engine import CHUNK_BYTES
from tests.support.command import command, environment, warmset
from tests.support.fake_proxy import FakeProxy
from tests.support.pulling import contents
from tests.support.registry import HOW_TO_GET, Registry, registry_missing, start_registry

pytestmark = pytest.mark.skipif(registry_missing(), reason=HOW_TO_GET)

BIG = 3 * CHUNK_BYTES + 12_345
# user "user", password "pass"
HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuuZFBUbfXoM8LFiPx8LYlO/sXZB/Cwk3K\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "sub").mkdir()
    (folder / "model.safetensors").write_bytes(random.Random(1).randbytes(BIG))
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("# A model")
    (folder / "sub" / "empty.txt").touch()
    return folder


@pytest.fixture(scope="module")
def pushed(registry: Registry, model: Path) -> str:
    """The reference of the model in the registry."""
    reference = f"oci://{registry.host}/models/tiny:v1"
    done = warmset("push", "--plain-http", str(model), reference)
    assert done.returncode == 0, done.stderr
    return reference


def test_a_folder_goes_round(pushed: str, model: Path, tmp_path: Path) -> None:
    done = warmset("pull", "--plain-http", "--root", str(tmp_path / "store"), pushed, str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out'}\n", "stdout holds the result alone"
    assert contents(tmp_path / "out") == contents(model)


def test_pushing_again_sends_nothing(pushed: str, model: Path) -> None:
    first, second = (json.loads(warmset("push", "--plain-http", "-o", "json", str(model), pushed).stdout) for _ in "12")
    assert second["bytesSent"] == 0
    assert first["revision"] == second["revision"]


def test_the_folder_is_made_of_hard_links_and_made_once(pushed: str, tmp_path: Path) -> None:
    arguments = ("pull", "--plain-http", "--root", str(tmp_path / "store"), "-o", "json", pushed, str(tmp_path / "out"))
    warmset(*arguments)
    inode = (tmp_path / "out" / "config.json").stat().st_ino
    again = json.loads(warmset(*arguments).stdout)
    assert again["bytesOrigin"] == 0
    assert (tmp_path / "out" / "config.json").stat().st_ino == inode
    assert (tmp_path / "out" / "model.safetensors").stat().st_nlink == 3


def test_a_folder_with_other_things_in_it_is_refused(pushed: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    done = warmset("pull", "--plain-http", "--root", str(tmp_path / "store"), pushed, str(tmp_path / "out"))
    assert done.returncode == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_ls_verify_and_rm(pushed: str, tmp_path: Path) -> None:
    root = ("--root", str(tmp_path / "store"))
    pulled = json.loads(warmset("pull", "--plain-http", *root, "-o", "json", pushed).stdout)
    listed = json.loads(warmset("ls", *root, "-o", "json").stdout)
    assert [(row["reference"], row["tree"]) for row in listed] == [(pushed, pulled["tree"])]
    assert warmset("verify", *root, pushed).returncode == 0

    wrong = Path(pulled["path"]) / "model.safetensors"
    wrong.chmod(0o644)
    with wrong.open("r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    rotten = warmset("verify", *root)
    assert rotten.returncode == 7
    assert "model.safetensors" in rotten.stdout

    removed = json.loads(warmset("rm", *root, "-o", "json", pulled["tree"][:20]).stdout)
    assert removed["bytesFreed"] >= BIG
    assert json.loads(warmset("ls", *root, "-o", "json").stdout) == []
    assert warmset("rm", *root, pushed).returncode == 3


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("models/tiny:absent", 3, "NotFound"),
        ("models/absent:v1", 3, "NotFound"),
        ("Models/Tiny:v1", 2, "InvalidReference"),
    ],
)
def test_what_is_not_there_is_one_clear_line(
    registry: Registry, tmp_path: Path, name: str, code: int, reason: str
) -> None:
    done = warmset("pull", "--plain-http", "--root", str(tmp_path / "store"), f"oci://{registry.host}/{name}")
    assert done.returncode == code
    assert done.stderr.startswith(f"error: {reason}: ")
    assert "Traceback" not in done.stderr


def test_wrong_bytes_in_the_registry_leave_nothing_behind(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(random.Random(2).randbytes(3 << 20))
    reference = f"oci://{registry.host}/models/rotten:v1"
    warmset("push", "--plain-http", str(folder), reference)
    data = next(path for path in (registry.folder / "data").rglob("data") if path.stat().st_size == 3 << 20)
    with data.open("r+b") as file:
        file.write(b"rot")
    done = warmset("pull", "--plain-http", "--root", str(tmp_path / "store"), reference, str(tmp_path / "out"))
    assert done.returncode == 7
    assert done.stderr.startswith("error: DigestMismatch: ")
    assert not (tmp_path / "out").exists()
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.stat().st_size > 4096] == []


def test_a_server_without_tls_is_said_with_the_way_out(pushed: str, tmp_path: Path) -> None:
    done = warmset("pull", "--root", str(tmp_path / "store"), pushed)
    assert done.returncode == 5
    assert "--plain-http" in done.stderr


def test_nobody_there_is_said_within_a_few_tries(tmp_path: Path) -> None:
    done = warmset("pull", "--plain-http", "--root", str(tmp_path / "store"), "oci://127.0.0.1:1/x:v1")
    assert done.returncode == 5
    assert "Connection refused" in done.stderr


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Registry]:
    """A registry that asks for a user and password."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    running = start_registry(tmp_path / "locked", htpasswd=tmp_path / "htpasswd")
    yield running
    running.stop()


def test_docker_credentials_open_the_door_and_none_do_not(locked: Registry, tmp_path: Path) -> None:
    config = tmp_path / "docker"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"auths": {locked.host: {"auth": "dXNlcjpwYXNz"}}}))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    reference = f"oci://{locked.host}/models/tiny:v1"
    assert warmset("push", "--plain-http", str(model), reference, DOCKER_CONFIG=str(config)).returncode == 0
    pull = ("pull", "--plain-http", "--root", str(tmp_path / "store"), reference)
    refused = warmset(*pull)
    assert refused.returncode == 4
    assert f"docker login {locked.host}" in refused.stderr
    (config / "config.json").write_text(json.dumps({"auths": {locked.host: {"auth": "dXNlcjp3cm9uZw=="}}}))
    wrong = warmset(*pull, DOCKER_CONFIG=str(config))
    assert wrong.returncode == 4
    assert "hint: the login was not taken" in wrong.stderr
    (config / "config.json").write_text(json.dumps({"auths": {locked.host: {"auth": "dXNlcjpwYXNz"}}}))
    assert warmset(*pull, DOCKER_CONFIG=str(config)).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounts a small disk: run as root")
def test_a_full_disk_is_said_before_a_byte_is_fetched(pushed: str, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    pull = command("pull", "--plain-http", "--root", str(small / "store"), pushed)
    script = f'mount -t tmpfs -o size=20m tmpfs {small} && "$@"; code=$?; find {small} -type f -size +8k; exit $code'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *pull],
        capture_output=True, text=True, timeout=60, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 8
    assert done.stderr.startswith("error: InsufficientCache: ")
    assert done.stdout == ""


def wait_for_chunks(root: Path, digest: Digest, *, count: int) -> None:
    """Until the journal of a blob under way names so many."""
    journal = root / "ingest" / digest.hex / "chunks.journal"
    all_of_it = chunk_count(BIG, chunk_bytes=CHUNK_BYTES)

    def named() -> int:
        raw = journal.read_bytes() if journal.exists() else b""
        return len(parse(raw, boot=boot_id(), chunk_bytes=CHUNK_BYTES, count=all_of_it).present)

    deadline = time.monotonic() + 60
    while named() < count:
        assert time.monotonic() < deadline, "the pull did not get so far"
        time.sleep(0.01)


def big_blob(model: Path) -> Digest:
    return Digest(hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest())


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_pull_that_was_stopped_fetches_no_whole_chunk_again(
    registry: Registry, model: Path, pushed: str, tmp_path: Path, signal_: signal.Signals
) -> None:
    root = tmp_path / "store"
    with FakeProxy(upstream=registry.host) as relay:
        reference = pushed.replace(registry.host, relay.host)
        arguments = ("pull", "--plain-http", "--root", str(root), "--workers", "1", "-o", "json", reference)
        stopped = subprocess.Popen(
            command(*arguments, "--limit", "6MiB"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
            # A shell's background job ignores interrupts, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            wait_for_chunks(root, big_blob(model), count=2)
        finally:
            stopped.send_signal(signal_)
            _, errors = stopped.communicate(timeout=30)
        assert stopped.returncode == (-9 if signal_ == signal.SIGKILL else 130)
        if signal_ == signal.SIGINT:
            assert "run the same command again" in errors
            assert "Traceback" not in errors

        with Store.open(root) as store, store.ingest(big_blob(model), size=BIG, chunk_bytes=CHUNK_BYTES) as ingest:
            chunks = len(ingest.have())
        assert chunks >= 2
        before = relay.carried
        again = json.loads(warmset(*arguments).stdout)
        carried = relay.carried - before
    missing = BIG - chunks * CHUNK_BYTES
    small = again["bytes"] - BIG
    assert missing <= again["bytesOrigin"] <= missing + small
    assert carried <= again["bytesOrigin"] + 64 * 1024, "headers and the manifest, no bodies that were thrown away"
    assert warmset("verify", "--root", str(root)).returncode == 0
