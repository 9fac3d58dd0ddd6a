"""Settings that hold for every test, and what tests of all kinds need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from cache.store import Store
from tests.support.fake_registry import FakeRegistry

# Other work shares the machine: a slow example is no failure. The same examples each time, so that what fails fails
# again; to look for new ones: pytest tests/unit -m hypothesis --hypothesis-profile=explore
settings.register_profile("warmset", deadline=None, max_examples=100, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000, derandomize=False)
settings.load_profile("warmset")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened
