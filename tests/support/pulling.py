"""A pull in the test's own process, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from api.reference import parse_reference
from cache.pull import Pulled, pull
from cache.sources import SourceOptions
from cache.store import Store
from tests.support.fake_registry import FakeRegistry


def bring(registry: FakeRegistry, store: Store, name: str = "m/tiny:v1", **options: Any) -> Pulled:
    reference = parse_reference(f"oci://{registry.host}/{name}")
    return pull(store, reference, options=trusting(registry), **options)


def trusting(registry: FakeRegistry) -> SourceOptions:
    """The registry speaks plain HTTP."""
    return SourceOptions(plain_http=frozenset({registry.host}))


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
