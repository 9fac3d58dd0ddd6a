"""A running reconcile loop on a real store, with the network and the broker stood in for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cache.store import Store
from tests.unit.daemonset.doubles import Node


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
async def node(store: Store) -> AsyncIterator[Node]:
    made = Node.of(store)
    loop = asyncio.create_task(made.pulls.run())
    yield made
    made.fetch.hold.set()
    loop.cancel()
    await asyncio.wait([loop])
