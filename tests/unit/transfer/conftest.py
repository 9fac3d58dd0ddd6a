"""A fake registry, a real store, and a transfer between them that loses patience quickly."""

from __future__ import annotations

import random
import threading

import pytest

from api.digest import Digest
from api.reference import OciReference
from cache.http.network import Network
from cache.http.retry import RetryPolicy
from cache.sources.oci.registry import Repository
from cache.sources.options import SourceOptions
from cache.store import Store
from cache.transfer.engine import Settings, transfer
from cache.transfer.file import WantedFile
from cache.transfer.plan import plan
from cache.transfer.progress import Meter, Progress
from cache.transfer.throttle import Rate
from tests.support.fake_registry import FakeRegistry

QUICK = RetryPolicy(attempts=4, first_s=0.01, longest_s=0.05)
IMPATIENT = Network(stall_s=0.4, connect_timeout_s=2.0)


@pytest.fixture
def repository(registry: FakeRegistry) -> Repository:
    return open_repository(registry)


def open_repository(registry: FakeRegistry, *, network: Network = IMPATIENT) -> Repository:
    reference = OciReference(registry.host, "models/tiny", "v1", None)
    return Repository(reference, options=SourceOptions(plain_http=frozenset({registry.host})), network=network)


def content(size: int, *, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def fetch(
    repository: Repository,
    store: Store,
    *blobs: tuple[Digest, int],
    workers: int = 4,
    cancel: threading.Event | None = None,
    limit: Rate | None = None,
) -> Progress:
    """Transfer blobs; returns the last word on progress."""
    meter = Meter(bytes_total=sum(size for _, size in blobs), files_total=len(blobs))
    transfer(
        plan((WantedFile(digest, size) for digest, size in blobs), workers=workers),
        store=store,
        open_session=repository.session,
        settings=Settings(workers=workers, policy=QUICK, limit=limit),
        meter=meter,
        cancel=cancel or threading.Event(),
    )
    return meter.snapshot()
