"""`warmset gc` tells the truth: what goes, what that gives back, and why the rest stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.errors import InsufficientCache
from cache.importing import import_new
from cache.store import Store
from cache.store.pause import pause
from cli.main import warmset

SHARED, OWN = bytes(range(256)) * 2000, b"own" * 200_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two models, of which the first is wholly part of the second."""
    for name, files in {"small": {"shared": SHARED}, "large": {"shared": SHARED, "own": OWN}}.items():
        folder = tmp_path / name
        folder.mkdir()
        for path, data in files.items():
            (folder / path).write_bytes(data)
        with Store.open(tmp_path / "store") as store:
            import_new(store, folder)
    return tmp_path / "store"


def gc(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(warmset, ["gc", "--root", str(root), "--idle", "0", *arguments])


def report(root: Path, *arguments: str) -> Any:
    done = gc(root, *arguments, "-o", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def forget(root: Path, name: str) -> None:
    with Store.open(root) as store:
        for record in store.pull_records():
            if record.key.endswith(name):
                store.forget(record.key)


def used(root: Path) -> int:
    with Store.open(root) as store:
        return store.usage().used


def test_a_model_whose_files_another_shares_gives_nothing_back(root: Path) -> None:
    forget(root, "small")
    said = report(root, "--dry-run")
    assert [(row["bytes"], row["inodes"]) for row in said["removed"]] == [(0, 0)]
    assert (said["bytesFreed"], said["inodesFreed"]) == (0, 0)


def test_what_is_said_to_come_free_does(root: Path) -> None:
    forget(root, "small")
    forget(root, "large")
    before = used(root)
    said = report(root)
    assert said["inodesFreed"] == 2
    freed = before - used(root)
    assert said["bytesFreed"] <= freed <= said["bytesFreed"] + (64 << 10), "and the records of both"


def test_the_text_counts_bytes_and_inodes_and_names_what_stays(root: Path) -> None:
    forget(root, "large")
    lines = gc(root, "--dry-run").stdout.splitlines()
    assert "no reference names it" in lines[0]
    assert "named file://" in lines[1]
    assert lines[-1].endswith("and 1 inodes would be freed")


def test_what_is_not_enough_is_said_of_every_model_and_nothing_goes(root: Path) -> None:
    refused = gc(root, "--free", "900TiB")
    assert isinstance(refused.exception, InsufficientCache)
    assert refused.stdout.count("removing it would not be enough") == 2
    assert "900.0 TiB cannot be made free" in refused.exception.message
    assert "could go, and are not enough" in refused.exception.message
    with Store.open(root) as store:
        assert len(store.trees()) == 2


def test_a_dry_run_in_a_pause_says_that_nothing_goes_yet(root: Path) -> None:
    pause(root, paused=True)
    assert "paused" in gc(root, "--dry-run").stderr


def test_what_was_just_imported_was_just_used(root: Path) -> None:
    assert "-" not in [
        line.split()[-1] for line in CliRunner().invoke(warmset, ["ls", "--root", str(root)]).stdout.splitlines()
    ]
