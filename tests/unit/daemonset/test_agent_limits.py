"""What a node may take is shared by whatever pulls run, and not split beforehand."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from api.broker import Grant
from cache.store import Store
from daemonset.config import Limits
from daemonset.pulling.fetch import fetcher


@pytest.mark.parametrize("most", [None, 1000])
def test_all_pulls_take_from_one_rate(store: Store, monkeypatch: pytest.MonkeyPatch, most: int | None) -> None:
    limits: list[Any] = []
    monkeypatch.setattr("daemonset.pulling.fetch.pull", lambda *_, limit, **__: limits.append(limit))
    fetch = fetcher(store, limits=Limits(pulls=2, download_bytes_per_second=most), ambient=False)
    for name in ("a", "b"):
        grant = Grant(f"default/{name}", f"oci://registry.example.com/m/{name}:v1", "")
        fetch(grant, on_progress=lambda _: None, cancel=threading.Event())
    assert limits[0] is limits[1]
    assert (limits[0] is None) == (most is None)
