"""A node's content-addressed store: blobs, trees, ingests, pins and records below one root."""

from cache.store.blobs import SMALL_BYTES
from cache.store.ingest import Ingest
from cache.store.pins import Pin
from cache.store.records import PullRecord
from cache.store.space import Usage
from cache.store.staged import Staged
from cache.store.store import Store

__all__ = ["SMALL_BYTES", "Ingest", "Pin", "PullRecord", "Staged", "Store", "Usage"]
