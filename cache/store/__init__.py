"""A node's content-addressed store: blobs, trees, ingests, pins and records below one root.

Names are imported when they are first used: whoever only looks for a tree does without the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.store.ingest import Ingest
    from cache.store.pins import Pin
    from cache.store.records import PullRecord
    from cache.store.small import SMALL_BYTES
    from cache.store.space import Usage
    from cache.store.staged import Staged
    from cache.store.store import Store

__all__ = ["SMALL_BYTES", "Ingest", "Pin", "PullRecord", "Staged", "Store", "Usage"]

_MODULES = {
    "SMALL_BYTES": "small",
    "Ingest": "ingest",
    "Pin": "pins",
    "PullRecord": "records",
    "Staged": "staged",
    "Store": "store",
    "Usage": "space",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"cache.store.{_MODULES[name]}"), name)
