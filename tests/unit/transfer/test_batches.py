"""Small files: several connections of one worker, and one end for all of them."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from api.digest import Digest
from api.errors import Cancelled, NotFound
from cache.http.network import Network
from cache.http.retry import RetryPolicy
from cache.sources.oci.registry import Repository
from cache.store import Store
from cache.transfer.batch import CONNECTIONS, WantedBatch, fetch_batch
from cache.transfer.buffers import BufferPool
from cache.transfer.engine import Settings, transfer
from cache.transfer.file import PIECE_BYTES, Tools, WantedFile
from cache.transfer.progress import Meter
from cache.transfer.reader import Link
from cache.transfer.throttle import Throttle
from tests.support.fake_registry import FakeRegistry, Fault
from tests.unit.transfer.conftest import content, fetch, open_repository

PATIENT = Network(stall_s=30.0, connect_timeout_s=2.0)


@pytest.fixture
def many(registry: FakeRegistry) -> list[tuple[Digest, int]]:
    return [(registry.add_blob(content(100, seed=seed)), 100) for seed in range(300)]


BATCH = WantedBatch(tuple(WantedFile(Digest(f"{seed:064x}"), 100) for seed in range(300)), CONNECTIONS)


class Blocked:
    """A session that waits in its first request until it is aborted. ``on_all`` is called when so many do."""

    def __init__(self, *, on_all: Callable[[], None], among: Sequence[Blocked], count: int = CONNECTIONS) -> None:
        self._on_all = on_all
        self._among = among
        self._count = count
        self._aborted = threading.Event()
        self.waits = False
        self.ended = ""

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> io.BytesIO:
        self.waits = True
        if sum(session.waits for session in self._among) == self._count:
            self._on_all()
        self.ended = "aborted" if self._aborted.wait(20) else "waited for"
        raise NotFound("nothing")

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        """Nothing is open."""


class Failing:
    """A session that finds nothing, once ``go`` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> io.BytesIO:
        assert self.go.wait(20)
        raise NotFound("nothing")

    def abort(self) -> None:
        """It fails by itself."""

    def close(self) -> None:
        """Nothing is open."""


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
    registry.faults = [Fault(cut_after=0, stall=True, times=CONNECTIONS)]
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


def test_a_cancel_ends_every_connection(store: Store) -> None:
    sessions: list[Blocked] = []
    cancel = threading.Event()

    def open_session() -> Blocked:
        sessions.append(Blocked(on_all=cancel.set, among=sessions))
        return sessions[-1]

    with pytest.raises(Cancelled):
        transfer(
            [BATCH],
            store=store,
            open_session=open_session,
            settings=Settings(workers=1),
            meter=Meter(bytes_total=0, files_total=len(BATCH.files)),
            cancel=cancel,
        )
    assert [session.ended for session in sessions] == ["aborted"] * CONNECTIONS


def test_an_error_of_one_connection_ends_the_others_before_they_are_waited_for() -> None:
    failing = Failing()
    others: list[Blocked] = []
    ended_by: list[BaseException] = []

    def open_session() -> Blocked:
        others.append(Blocked(on_all=failing.go.set, among=others, count=CONNECTIONS - 1))
        return others[-1]

    def leave(error: BaseException) -> None:
        ended_by.append(error)
        for other in others:
            other.abort()

    stop = threading.Event()
    link = Link(RetryPolicy(attempts=1), stop, Throttle(None, cancel=stop), Meter(bytes_total=0, files_total=1))
    pool = BufferPool(count=0, size=PIECE_BYTES)
    tools = Tools([failing], memoryview(bytearray(PIECE_BYTES)), pool, link)
    with pytest.raises(NotFound):
        fetch_batch(BATCH, tools, open_session=open_session, leave=leave)
    assert isinstance(ended_by[0], NotFound)
    assert [other.ended for other in others] == ["aborted"] * (CONNECTIONS - 1)


def test_without_threads_for_more_connections_one_does(
    registry: FakeRegistry, store: Store, many: list[tuple[Digest, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def none_for_helpers(thread: threading.Thread) -> None:
        if thread.name.startswith("transfer-0-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", none_for_helpers)
    fetch(open_repository(registry, network=PATIENT), store, *many, workers=1)
    assert all(store.has_blob(digest, size) for digest, size in many)
    assert len({seen.port for seen in registry.requests("/blobs/")}) == 1
