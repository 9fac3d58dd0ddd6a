"""A store that another process has: waited for, but not for ever (agents: tests/integration/test_agent_root.py)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.errors import StoreLocked
from cache.store import Store
from cli.local import open_store


def test_after_the_limit_the_owner_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    me = rf"\(process {os.getpid()}\)"
    with Store.open(tmp_path / "cache"), pytest.raises(StoreLocked, match=me):
        open_store(tmp_path / "cache", wait_s=0.1)
    said = capsys.readouterr().err
    assert said.count("waiting for it") == 1
