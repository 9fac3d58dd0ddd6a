"""What the engine makes of a source that breaks, lies or stalls: the right bytes, or a named error and no blob."""

from __future__ import annotations

import threading
import time

import pytest

from api.digest import Digest
from api.errors import Cancelled, DigestMismatch, Forbidden, NotFound, SourceUnavailable
from cache.sources.oci.registry import Repository
from cache.store import Store
from cache.transfer.progress import Progress
from cache.transfer.throttle import Rate
from tests.support.chunks import chunks_on_disk
from tests.support.fake_registry import FakeRegistry, Fault
from tests.unit.transfer.conftest import content, fetch

MIB = 1 << 20
CHUNK = 16 * MIB
BIG = 5 * CHUNK + 12_345  # several requests, an odd tail


def blob(registry: FakeRegistry, size: int = 3 * MIB + 7, *, seed: int = 1) -> tuple[Digest, int]:
    return registry.add_blob(content(size, seed=seed)), size


def test_blobs_of_every_size_arrive_whole(registry: FakeRegistry, repository: Repository, store: Store) -> None:
    sizes = (0, 1, 4096, MIB, MIB + 1, 4 * MIB, CHUNK, CHUNK + 1)
    wanted = [blob(registry, size, seed=seed) for seed, size in enumerate(sizes)]
    progress = fetch(repository, store, *wanted)
    assert all(store.blob_path(digest).read_bytes() == registry.blobs[str(digest)] for digest, _ in wanted)
    assert progress.bytes_done == progress.bytes_origin == sum(sizes)
    assert progress.files_done == len(sizes)


def test_a_large_file_is_fetched_over_several_connections(
    registry: FakeRegistry, repository: Repository, store: Store
) -> None:
    wanted = blob(registry, BIG)
    fetch(repository, store, wanted)
    assert store.has_blob(*wanted)
    assert len({seen.range for seen in registry.requests("/blobs/")}) == 6
    assert registry.blob_bytes() == BIG


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_body_that_breaks_goes_on_at_the_byte_reached(
    registry: FakeRegistry, repository: Repository, store: Store, reset: bool
) -> None:
    wanted = blob(registry)
    registry.faults = [Fault(cut_after=MIB, reset=reset)]
    fetch(repository, store, wanted)
    assert store.has_blob(*wanted)
    first, second = registry.requests("/blobs/")
    assert first.range == ""
    start = int(second.range.removeprefix("bytes=").partition("-")[0])
    assert 0 < start <= MIB if reset else start == MIB


def test_a_hundred_broken_bodies_do_not_exhaust_patience_while_bytes_come(
    registry: FakeRegistry, repository: Repository, store: Store
) -> None:
    wanted = blob(registry, 8 * MIB)
    registry.faults = [Fault(cut_after=80_000, times=100)]
    fetch(repository, store, wanted, workers=1)
    assert store.has_blob(*wanted)


def test_a_body_that_never_brings_bytes_exhausts_patience(
    registry: FakeRegistry, repository: Repository, store: Store
) -> None:
    wanted = blob(registry)
    registry.faults = [Fault(cut_after=0, times=100)]
    with pytest.raises(SourceUnavailable, match=str(wanted[0])):
        fetch(repository, store, wanted, workers=1)
    assert len(registry.requests("/blobs/")) <= 8  # four tries, each on a kept connection and once more on a new one
    assert not store.has_blob(*wanted)


def test_a_stalled_body_is_given_up_and_resumed(registry: FakeRegistry, repository: Repository, store: Store) -> None:
    wanted = blob(registry)
    registry.faults = [Fault(cut_after=MIB, stall=True)]
    fetch(repository, store, wanted)
    assert store.has_blob(*wanted)


def test_a_server_that_ignores_ranges_is_read_in_one_stream(
    registry: FakeRegistry, repository: Repository, store: Store
) -> None:
    wanted = blob(registry, BIG)
    registry.faults = [Fault(ignore_range=True, times=100)]
    fetch(repository, store, wanted)
    assert store.has_blob(*wanted)
    assert len([seen for seen in registry.requests("/blobs/") if seen.sent == BIG]) == 1


def test_a_small_body_that_breaks_goes_on_though_the_server_ignores_ranges(
    registry: FakeRegistry, repository: Repository, store: Store
) -> None:
    wanted = blob(registry, 100_000)
    registry.faults = [Fault(cut_after=50_000), Fault(ignore_range=True)]
    assert fetch(repository, store, wanted).bytes_done == 100_000
    assert store.has_blob(*wanted)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 0-16777215/1"},
        {"Content-Range": "bytes 1-16777216/83898425"},
        {"Content-Range": "bytes 0-16777215/*"},
        {"Content-Range": "items 0-16777215/83898425"},
        {"Content-Range": None},
        {"Content-Encoding": "gzip"},
        {"Content-Type": "multipart/byteranges; boundary=x"},
    ],
    ids=str,
)
def test_a_range_that_is_not_the_one_asked_for_is_never_written(
    registry: FakeRegistry, repository: Repository, store: Store, headers: dict[str, str | None]
) -> None:
    wanted = blob(registry, BIG)
    registry.faults = [Fault(headers=headers, times=2)]
    fetch(repository, store, wanted, workers=1)
    assert store.has_blob(*wanted)


def test_a_wrong_byte_costs_one_clean_retry(registry: FakeRegistry, repository: Repository, store: Store) -> None:
    wanted = blob(registry)
    registry.faults = [Fault(flip=1234)]
    progress = fetch(repository, store, wanted)
    assert store.has_blob(*wanted)
    assert progress.bytes_done == wanted[1]
    assert progress.bytes_origin == 2 * wanted[1]


@pytest.mark.parametrize("size", [1000, 3 * MIB, CHUNK + 5])
def test_bytes_that_are_always_wrong_are_never_kept(
    registry: FakeRegistry, repository: Repository, store: Store, size: int
) -> None:
    wanted = blob(registry, size)
    registry.faults = [Fault(flip=999, times=100)]
    with pytest.raises(DigestMismatch):
        fetch(repository, store, wanted)
    assert not store.has_blob(*wanted)
    assert list((store.root / "ingest").iterdir()) == []


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (403, Forbidden)])
def test_a_final_status_is_not_asked_for_again(
    registry: FakeRegistry, repository: Repository, store: Store, status: int, error: type[Exception]
) -> None:
    wanted = blob(registry)
    registry.faults = [Fault(status=status, times=100)]
    with pytest.raises(error):
        fetch(repository, store, wanted)
    assert len(registry.requests("/blobs/")) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_a_passing_failure_is_waited_out(
    registry: FakeRegistry, repository: Repository, store: Store, status: int
) -> None:
    wanted = blob(registry)
    registry.faults = [Fault(status=status, headers={"Retry-After": "0"}, times=3)]
    fetch(repository, store, wanted)
    assert store.has_blob(*wanted)


def test_retry_after_is_honoured(registry: FakeRegistry, repository: Repository, store: Store) -> None:
    wanted = blob(registry, 10)
    registry.faults = [Fault(status=429, headers={"Retry-After": "1"})]
    started = time.monotonic()
    fetch(repository, store, wanted)
    assert time.monotonic() - started >= 1.0


def test_a_cancel_ends_a_stalled_transfer_at_once_and_keeps_what_came(
    registry: FakeRegistry, store: Store, repository: Repository
) -> None:
    wanted = blob(registry, 2 * CHUNK + 5)
    registry.faults = [Fault(cut_after=CHUNK + MIB, stall=True), *[Fault(cut_after=0, stall=True)] * 3]
    cancel = threading.Event()

    def cancel_after_a_chunk() -> None:
        while not chunks_on_disk(store.root):
            time.sleep(0.01)
        cancel.set()

    canceller = threading.Thread(target=cancel_after_a_chunk, daemon=True)
    canceller.start()
    with pytest.raises(Cancelled):  # had it waited for the stalled body, that would be what it says
        fetch(repository, store, wanted, workers=1, cancel=cancel)
    canceller.join()
    registry.faults = []
    before = registry.blob_bytes()
    fetch(repository, store, wanted, workers=1)
    assert store.has_blob(*wanted)
    assert registry.blob_bytes() - before == wanted[1] - CHUNK, "the chunk that was whole is not fetched again"


def test_a_chunk_on_disk_that_rotted_is_noticed(registry: FakeRegistry, store: Store, repository: Repository) -> None:
    wanted = blob(registry, 2 * CHUNK)
    with store.ingest(wanted[0], size=wanted[1], chunk_bytes=CHUNK) as ingest:
        ingest.write(0, memoryview(bytes(CHUNK)))
        ingest.written(0)
    fetch(repository, store, wanted)
    assert store.has_blob(*wanted)


def test_a_limit_holds_for_all_workers_together(registry: FakeRegistry, store: Store, repository: Repository) -> None:
    wanted = [blob(registry, 2 * MIB, seed=seed) for seed in range(3)]
    started = time.monotonic()
    fetch(repository, store, *wanted, limit=Rate(8 * MIB))
    assert time.monotonic() - started > 0.4


def test_a_hundred_files_cost_one_connection_a_worker(
    registry: FakeRegistry, store: Store, repository: Repository
) -> None:
    wanted = [blob(registry, 100 + seed, seed=seed) for seed in range(94)]
    wanted += [blob(registry, 2 * MIB, seed=seed) for seed in range(94, 100)]
    fetch(repository, store, *wanted, workers=3)
    assert all(store.has_blob(digest, size) for digest, size in wanted)
    assert len(registry.requests("/blobs/")) == 100
    assert len({seen.port for seen in registry.requests()}) <= 3


def test_two_transfers_that_want_one_blob_fetch_it_once(
    registry: FakeRegistry, repository: Repository, store: Store
) -> None:
    wanted = blob(registry, CHUNK + 5)
    own = [blob(registry, 2 * MIB, seed=seed) for seed in (2, 3)]
    results: list[object] = []

    def work(*blobs: tuple[Digest, int]) -> None:
        try:
            results.append(fetch(repository, store, *blobs))
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=work, args=(wanted, mine)) for mine in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [type(result) for result in results] == [Progress, Progress], results
    assert all(store.has_blob(*one) for one in (wanted, *own))
    assert registry.blob_bytes() == CHUNK + 5 + 2 * 2 * MIB
