"""One owner a root: what the lock keeps apart, and that a store without it would be noticed. S12 of docs/faults.md."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from api.errors import DiskError, StoreLocked
from cache.store import Store
from cache.store import root as root_module


def is_harmed_by_a_second_owner(root: Path) -> bool:
    """A second process starts while the first is in the middle of a file, and cleans up as every start does."""
    with Store.open(root) as first, first.stage() as staged:
        staged.write(b"half of it")
        with suppress(StoreLocked):
            Store.open(root).close()
        try:
            staged.commit()
        except DiskError:
            return True
        return False


def test_a_second_owner_is_kept_away(tmp_path: Path) -> None:
    assert not is_harmed_by_a_second_owner(tmp_path / "cache")


def test_without_the_lock_the_harm_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_module, "_take", lambda lock, path, *, wait_s: None)
    assert is_harmed_by_a_second_owner(tmp_path / "cache")
