"""Looking after a local store as a user does, with a real registry to fetch from."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from api.node import PublishRequest
from cache.store import Store
from tests.support.command import warmset, warmset_json
from tests.support.processes import Server, free_port
from tests.support.registry import HOW_TO_GET, Registry, registry_missing

pytestmark = pytest.mark.skipif(registry_missing(), reason=HOW_TO_GET)

PIN = "ab" * 32
SHARD = 3 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for n in (1, 2):
        (folder / f"shard-{n}.gguf").write_bytes(random.Random(n).randbytes(SHARD))
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def pushed(registry: Registry, model: Path) -> str:
    reference = f"oci://{registry.host}/models/tiny:v1"
    done = warmset("push", "--plain-http", model, reference)
    assert done.returncode == 0, done.stderr
    return reference


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def rot(file: Path) -> None:
    file.chmod(0o644)
    with file.open("r+b") as opened:
        opened.seek(1000)
        opened.write(b"rot")
    file.chmod(0o444)


def test_verify_repair_fetches_just_the_bad_file_and_open_files_stay(pushed: str, model: Path, root: Path) -> None:
    path = Path(warmset_json("pull", "--plain-http", "--root", root, pushed)["path"])
    with Store.open(root) as store:
        store.pin(PIN, tree=store.trees()[0], note={})
    rot(path / "shard-1.gguf")
    good = (path / "shard-2.gguf").stat().st_ino
    with (path / "shard-1.gguf").open("rb") as opened:
        done = warmset("verify", "--root", root, "--repair", "--plain-http", "-o", "json", pushed)
        assert done.returncode == 0, done.stderr
        assert b"rot" in opened.read()
    report = json.loads(done.stdout)
    assert [row["path"] for row in report["wrong"]] == ["shard-1.gguf"]
    assert [row["bytesOrigin"] for row in report["repaired"]] == [SHARD]
    assert (path / "shard-1.gguf").read_bytes() == (model / "shard-1.gguf").read_bytes()
    assert (path / "shard-2.gguf").stat().st_ino == good
    assert warmset("verify", "--root", root).returncode == 0
    (kept,) = (root / "quarantine").iterdir()
    assert b"rot" in kept.read_bytes()


def test_verify_alone_says_so_and_changes_nothing(pushed: str, root: Path) -> None:
    path = Path(warmset_json("pull", "--plain-http", "--root", root, pushed)["path"])
    rot(path / "shard-1.gguf")
    done = warmset("verify", "--root", root)
    assert (done.returncode, done.stderr.splitlines()[-2]) == (
        7,
        "error: Corrupted: 1 files are not what they should be",
    )
    assert "--repair" in done.stderr
    assert list((root / "quarantine").iterdir()) == []


def test_import_takes_what_lies_here_and_fetches_only_the_rest(
    pushed: str, model: Path, root: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "shard-1.gguf").write_bytes((model / "shard-1.gguf").read_bytes())
    (here / "shard-2.gguf").write_bytes(bytes(SHARD))
    (here / "notes.txt").write_text("mine")
    report = warmset_json("import", "--plain-http", "--root", root, here, pushed)
    assert (report["taken"], report["different"]) == (1, ["shard-2.gguf"])
    assert SHARD <= report["bytesOrigin"] < SHARD + 4096
    assert (Path(report["path"]) / "shard-2.gguf").read_bytes() == (model / "shard-2.gguf").read_bytes()
    assert warmset_json("pull", "--plain-http", "--root", root, pushed)["bytesOrigin"] == 0
    (here / "shard-1.gguf").write_bytes(b"changed later")
    assert warmset("verify", "--root", root).returncode == 0


def test_import_without_a_reference_makes_a_model_of_its_own(model: Path, root: Path) -> None:
    report = warmset_json("import", "--root", root, model)
    assert (report["taken"], report["reference"]) == (3, model.as_uri())
    assert warmset_json("gc", "--root", root, "--idle", "0")["removed"] == []
    assert warmset("rm", "--root", root, model.as_uri()).returncode == 0
    assert (model / "shard-1.gguf").exists()


def test_gc_says_what_goes_and_why_and_dry_run_only_says(pushed: str, root: Path) -> None:
    tree = warmset_json("pull", "--plain-http", "--root", root, pushed)["tree"]
    with Store.open(root) as store, store.stage() as staged:
        staged.write(bytes(100_000))
        staged.commit()
    said = warmset_json("gc", "--root", root, "--idle", "0", "--dry-run")
    assert [(row["kind"], row["why"]) for row in said["removed"]] == [("blob", "no model has this file")]
    assert [(row["name"], row["why"]) for row in said["kept"]] == [(tree, f"named {pushed}")]
    done = warmset_json("gc", "--root", root, "--idle", "0")
    assert done == {**said, "dryRun": False}
    assert warmset_json("gc", "--root", root, "--idle", "0")["removed"] == []
    with Store.open(root) as store:
        store.forget(pushed)
    assert [row["why"] for row in warmset_json("gc", "--root", root)["removed"]] == ["no reference names it"]
    assert warmset_json("ls", "--root", root) == []


def test_gc_free_removes_named_models_but_none_that_is_mounted(pushed: str, root: Path) -> None:
    warmset("pull", "--plain-http", "--root", root, pushed)
    with Store.open(root) as store:
        (tree,) = store.trees()
        store.pin(PIN, tree=tree, note={})
    refused = warmset("gc", "--root", root, "--free", "900TB")
    assert refused.returncode == 8
    assert "mounted" in refused.stderr
    with Store.open(root) as store:
        store.unpin(PIN)
    freed = {"removed": []}
    while not freed["removed"]:  # others use this disk too: what they give back meanwhile, or take, may be more
        with Store.open(root) as store:
            free = store.disk().bytes_free
        ended = warmset("gc", "--root", root, "--free", str(free + SHARD), "-o", "json")
        assert ended.returncode in (0, 8), ended.stderr
        freed = json.loads(ended.stdout) if ended.returncode == 0 else freed
    assert [row["kind"] for row in freed["removed"]] == ["tree"]
    assert freed["bytesFreed"] >= 2 * SHARD


def test_a_pause_stops_pulls_and_gc_but_nothing_else(pushed: str, root: Path) -> None:
    with Store.open(root):
        assert warmset("pause", "--root", root).returncode == 0, "while somebody owns the root"
    refused = warmset("pull", "--plain-http", "--root", root, pushed)
    assert refused.returncode == 9
    assert refused.stderr.startswith("error: Paused: ")
    assert warmset("gc", "--root", root).returncode == 9
    assert warmset("gc", "--dry-run", "--root", root).returncode == 0
    assert warmset("resume", "--root", root).returncode == 0
    assert warmset("pull", "--plain-http", "--root", root, pushed).returncode == 0
    warmset("pause", "--root", root)
    assert warmset("pull", "--plain-http", "--root", root, pushed).returncode == 0, "a warm hit brings nothing"


def test_purge_removes_the_cache_and_nothing_else(pushed: str, root: Path) -> None:
    warmset("pull", "--plain-http", "--root", root, pushed)
    with Store.open(root) as store:
        store.pin(PIN, tree=store.trees()[0], note={})
        assert warmset("purge", "--yes", "--root", root).returncode == 9, "somebody owns it"
        store.unpin(PIN)
    assert warmset_json("purge", "--dry-run", "--root", root)["bytesFreed"] > 2 * SHARD
    (root / "mine").write_text("mine")
    (root / "trees" / "README").write_text("mine")
    report = warmset_json("purge", "--yes", "--root", root)
    assert report["kept"] == ["mine", "trees"]
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*")) == ["mine", "trees", "trees/README"]


def test_purge_leaves_no_trace_of_a_cache_of_its_own(pushed: str, root: Path) -> None:
    warmset("pull", "--plain-http", "--root", root, pushed)
    assert warmset("purge", "--yes", "--root", root).returncode == 0
    assert not root.exists()
    assert warmset("purge", "--yes", "--root", root).returncode == 3


@pytest.fixture
def agent(pushed: str, root: Path, tmp_path: Path) -> Iterator[Path]:
    """The socket of a stand-alone agent that holds the model."""
    config, socket = tmp_path / "agent.yaml", tmp_path / "agent.sock"
    host = pushed.removeprefix("oci://").partition("/")[0]
    config.write_text(
        f"root: {root}\nlisten: 127.0.0.1:{free_port()}\nsocket: {socket}\nplain_http: ['{host}']\n"
        f"models:\n  - name: tiny\n    source: {pushed}\n"
        "scrub_bytes_per_second: 0\nwatermarks: {high: 1.0, low: 1.0, inodes_high: 1.0, inodes_low: 1.0}\n"
    )
    server = Server([sys.executable, "-m", "cli.main", "agent", "--config", config], log=tmp_path / "log")
    server.wait_until(lambda: state_of(socket) == "Ready", what="the model on the node", within_s=30)
    yield socket
    server.stop(grace_s=10)


def sha256(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def wait_until_same(file: Path, right: Path) -> None:
    deadline = time.monotonic() + 20
    # Absent for the moment in which a tree that nobody has mounted is replaced.
    while not file.exists() or file.read_bytes() != right.read_bytes():
        assert time.monotonic() < deadline, "not fetched again"
        time.sleep(0.1)


async def publish(socket: Path) -> None:
    """What the CSI driver asks for before it mounts."""
    request = PublishRequest(id=PIN, model="default/tiny", namespace="default", pod="p", pod_uid="u", wait_s=5)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.post("http://agent/v1/publications", data=msgspec.json.encode(request)) as answer,
    ):
        assert answer.status == 200, await answer.text()


def state_of(socket: Path) -> str:
    done = warmset("node", "--socket", socket, "-o", "json")
    models = json.loads(done.stdout)["models"] if done.returncode == 0 else []
    return models[0]["state"] if models else ""


def test_an_agent_mends_what_a_verification_finds_and_shows_a_pause(agent: Path, model: Path, root: Path) -> None:
    (tree,) = [path for path in (root / "trees").iterdir() if not path.name.startswith(".")]
    rot(tree / "shard-2.gguf")
    found = warmset("verify", "--socket", agent)
    assert found.returncode == 7, found.stderr
    assert "wrong: sha256:" in found.stdout
    wait_until_same(tree / "shard-2.gguf", model / "shard-2.gguf")
    assert warmset("verify", "--socket", agent).returncode == 0
    shown = warmset("node", "--socket", agent).stdout
    assert "had rotted" in shown
    assert "\ntiny  Ready" in shown
    assert warmset("verify", "--socket", agent, "tiny").returncode == 0
    warmset("pause", "--root", root)
    time.sleep(2.5)
    assert "paused" in warmset("node", "--socket", agent).stdout


def test_an_agent_verifies_one_model_and_mends_it_under_its_pods(
    agent: Path, pushed: str, model: Path, root: Path
) -> None:
    (tree,) = [path for path in (root / "trees").iterdir() if not path.name.startswith(".")]
    good = (tree / "shard-2.gguf").stat().st_ino
    rot(tree / "shard-1.gguf")
    for target in ("0" * 12, "oci://registry.example.com/other:v1"):
        assert warmset("verify", "--socket", agent, target).returncode == 3
    asyncio.run(publish(agent))
    with (tree / "shard-1.gguf").open("rb") as opened:
        found = warmset("verify", "--socket", agent, "-o", "json", pushed)
        assert found.returncode == 7, found.stderr
        assert json.loads(found.stdout.partition("\n{")[0])["wrong"] == [sha256(model / "shard-1.gguf")]
        wait_until_same(tree / "shard-1.gguf", model / "shard-1.gguf")
        assert b"rot" in opened.read(), "who has the old file open keeps it"
    assert (tree / "shard-2.gguf").stat().st_ino == good, "just the bad file"
    assert warmset("verify", "--socket", agent, tree.name[:12]).returncode == 0


def test_a_second_agent_on_the_root_is_refused_and_the_first_goes_on(agent: Path, root: Path, tmp_path: Path) -> None:
    second = warmset("agent", "--root", root, "--listen", f"127.0.0.1:{free_port()}")
    assert second.returncode == 9
    assert "error: StoreLocked: " in second.stderr
    assert state_of(agent) == "Ready"
