"""Small files: several connections of one worker, and one end for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from api.digest import Digest
from api.errors import Cancelled, NotFound
from cache.http.network import Network
from cache.sources.oci.registry import Repository
from cache.store import Store
from cache.transfer.batch import CONNECTIONS
from tests.support.fake_registry import FakeRegistry, Fault
from tests.unit.transfer.conftest import content, fetch, open_repository

PATIENT = Network(stall_s=30.0, connect_timeout_s=2.0)
STALLED = Fault(cut_after=0, stall=True, times=CONNECTIONS)


@pytest.fixture
def many(registry: FakeRegistry) -> list[tuple[Digest, int]]:
    return [(registry.add_blob(content(100, seed=seed)), 100) for seed in range(300)]


def meanwhile(doing: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=doing, daemon=True)
    thread.start()
    return thread


def wait_until_all_connections_stall(registry: FakeRegistry) -> None:
    deadline = time.monotonic() + 20
    while len(registry.requests("/blobs/")) < CONNECTIONS and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_worker_asks_for_several_of_many_small_files_at_once(
    registry: FakeRegistry, store: Store, many: list[tuple[Digest, int]]
) -> None:
    registry.faults = [STALLED]
    asked: list[int] = []

    def let_go() -> None:
        wait_until_all_connections_stall(registry)
        asked.append(len(registry.requests("/blobs/")))
        registry.released.set()

    helper = meanwhile(let_go)
    fetch(open_repository(registry, network=PATIENT), store, *many, workers=1)
    helper.join()
    assert asked == [CONNECTIONS]
    assert all(store.has_blob(digest, size) for digest, size in many)


def test_a_file_that_is_not_there_ends_every_connection(
    registry: FakeRegistry, repository: Repository, store: Store, many: list[tuple[Digest, int]]
) -> None:
    registry.faults = [Fault(status=404)]
    with pytest.raises(NotFound):
        fetch(repository, store, *many, workers=1)
    assert not any(store.has_blob(digest, size) for digest, size in many)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("transfer-")]


def test_a_cancel_ends_every_connection(registry: FakeRegistry, store: Store, many: list[tuple[Digest, int]]) -> None:
    registry.faults = [STALLED]
    cancel = threading.Event()

    def give_up() -> None:
        wait_until_all_connections_stall(registry)
        cancel.set()

    helper = meanwhile(give_up)
    with pytest.raises(Cancelled):
        fetch(open_repository(registry, network=PATIENT), store, *many, workers=1, cancel=cancel)
    helper.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("transfer-")]


def test_without_threads_for_more_connections_one_does(
    registry: FakeRegistry,
    repository: Repository,
    store: Store,
    many: list[tuple[Digest, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def none_for_helpers(thread: threading.Thread) -> None:
        if thread.name.startswith("transfer-0-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", none_for_helpers)
    fetch(repository, store, *many, workers=1)
    assert all(store.has_blob(digest, size) for digest, size in many)
    assert len({seen.port for seen in registry.requests("/blobs/")}) == 1
