"""What joins the threads of an exchange: who waits costs nothing, and nobody waits for what has become pointless."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from api.digest import Digest
from cache.exchange import coordinator as coordinating
from cache.exchange.carrier import Carrier
from cache.exchange.coordinator import UPSTREAM, Coordinator, Job
from cache.exchange.decide import Decision
from cache.exchange.files import Files
from cache.exchange.stripes import Stripes
from cache.exchange.view import State, View
from cache.http.retry import RetryPolicy
from cache.sources.source import Body
from cache.store import Store
from cache.transfer.file import WantedFile
from cache.transfer.progress import Meter
from cache.transfer.reader import Link
from cache.transfer.throttle import Throttle

MIB = 1 << 20
CHUNKS = 6


@pytest.fixture
def coordinator() -> Coordinator:
    """Of the first of three members, who have all started."""
    made = Coordinator(Stripes(seed="s", members=("a", "b", "c"), chunks=CHUNKS), me=0, have=0)
    for member in (1, 2):
        made.heard(member, State())
    return made


def test_threads_that_have_nothing_to_fetch_do_not_wake_each_other(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = 0

    def counted(view: View, *, upstream_slots: int) -> Decision:
        nonlocal decisions
        decisions += 1
        return Decision()

    monkeypatch.setattr(coordinating, "decide", counted)
    places = (UPSTREAM, 1, 2)
    threads = [threading.Thread(target=coordinator.next, args=(place,), daemon=True) for place in places]
    for thread in threads:
        thread.start()
    coordinator.start()
    time.sleep(0.3)  # no longer than they wait by themselves
    coordinator.stop()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert decisions < 10


class Held:
    """A session with a peer that holds the request until its asker hangs up."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._aborted = threading.Event()

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> Body:
        self.asked.set()
        assert self._aborted.wait(30)
        raise ConnectionAbortedError("hung up")

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        pass


def test_a_request_is_hung_up_once_its_chunk_has_come_from_elsewhere(coordinator: Coordinator, tmp_path: Path) -> None:
    coordinator.start()
    job = coordinator.next(1)
    assert job is not None
    held = Held()
    ended: list[bool] = []
    cancel = threading.Event()
    meter = Meter(bytes_total=CHUNKS * MIB, files_total=1)
    link = Link(RetryPolicy(attempts=1), cancel, Throttle(None, cancel=cancel), meter)
    with Store.open(tmp_path / "store") as store:
        wanted = WantedFile(Digest("0" * 64), CHUNKS * MIB)
        files = Files.open([wanted], present=frozenset(), store=store, chunk_bytes=MIB)
        carrier = Carrier(files, coordinator)

        def fetch() -> None:
            ended.append(carrier.fetch(job, held, memoryview(bytearray(MIB)), link=link, source=1))

        thread = threading.Thread(target=fetch, daemon=True)
        thread.start()
        assert held.asked.wait(30)
        coordinator.arrived(Job(UPSTREAM, job.chunk))
        thread.join(30)
        files.close()
    assert ended == [False]
    assert coordinator.next(1) not in (None, job), "the place is free for the next chunk"
