"""Looking after a local store as a user does, with a real registry to fetch from."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.store import Store
from tests.support.command import warmset, warmset_json
from tests.support.registry import HOW_TO_GET, Registry, registry_missing, start_registry

pytestmark = pytest.mark.skipif(registry_missing(), reason=HOW_TO_GET)

PIN = "ab" * 32
SHARD = 3 << 20


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = start_registry(tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for n in (1, 2):
        (folder / f"shard-{n}.bin").write_bytes(random.Random(n).randbytes(SHARD))
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
    rot(path / "shard-1.bin")
    good = (path / "shard-2.bin").stat().st_ino
    with (path / "shard-1.bin").open("rb") as opened:
        done = warmset("verify", "--root", root, "--repair", "--plain-http", "-o", "json", pushed)
        assert done.returncode == 0, done.stderr
        assert b"rot" in opened.read()
    report = json.loads(done.stdout)
    assert [row["path"] for row in report["wrong"]] == ["shard-1.bin"]
    assert [row["bytesOrigin"] for row in report["repaired"]] == [SHARD]
    assert (path / "shard-1.bin").read_bytes() == (model / "shard-1.bin").read_bytes()
    assert (path / "shard-2.bin").stat().st_ino == good
    assert warmset("verify", "--root", root).returncode == 0
    (kept,) = (root / "quarantine").iterdir()
    assert b"rot" in kept.read_bytes()


def test_verify_alone_says_so_and_changes_nothing(pushed: str, root: Path) -> None:
    path = Path(warmset_json("pull", "--plain-http", "--root", root, pushed)["path"])
    rot(path / "shard-1.bin")
    done = warmset("verify", "--root", root)
    assert (done.returncode, done.stderr.splitlines()[-2]) == (
        7,
        "error: Corrupted: 1 files are not what they should be",
    )
    assert "--repair" in done.stderr
    assert list((root / "quarantine").iterdir()) == []
