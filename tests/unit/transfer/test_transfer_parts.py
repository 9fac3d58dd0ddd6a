"""The engine's parts by themselves: who fetches what, in which order it is hashed, how failures are waited out."""

from __future__ import annotations

import hashlib
import io
import random
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.digest import Digest
from api.errors import Cancelled, RateLimited, SourceUnavailable
from cache.http.retry import RetryPolicy, with_retries
from cache.transfer.batch import SMALL_BYTES, WantedBatch
from cache.transfer.buffers import BufferPool
from cache.transfer.file import PIECE_BYTES, OpenFile, Tools, WantedFile
from cache.transfer.frontier import Frontier
from cache.transfer.plan import BATCH_BYTES, BATCH_FILES, plan
from cache.transfer.progress import Meter
from cache.transfer.reader import Link
from cache.transfer.schedule import RUN_CHUNKS, Run, Schedule, Share, helpable, take_run
from cache.transfer.throttle import Rate, Throttle


def wanted(size: int, *, seed: int = 0) -> WantedFile:
    return WantedFile(Digest(f"{seed:064x}"), size)


# -- who fetches what


@given(st.sets(st.integers(0, 40)), st.booleans(), st.booleans())
def test_every_missing_chunk_is_handed_out_once(missing: set[int], crowded: bool, single: bool) -> None:
    share = Share(deque(sorted(missing)), single=single)
    taken: list[int] = []
    while share.missing:
        run = take_run(share, crowded=crowded)
        taken += range(run.first, run.last + 1)
    assert set(taken) >= missing
    if not single:
        assert sorted(taken) == sorted(missing)


def test_a_worker_alone_on_its_file_takes_a_run() -> None:
    assert take_run(Share(deque(range(10))), crowded=True) == Run(0, RUN_CHUNKS - 1)


def test_where_others_help_a_worker_takes_one_chunk() -> None:
    assert take_run(Share(deque(range(10))), crowded=False) == Run(0, 0)


def test_a_run_ends_where_a_chunk_is_there_already() -> None:
    assert take_run(Share(deque([0, 1, 5])), crowded=True) == Run(0, 1)


def test_the_file_with_most_left_is_helped() -> None:
    small, large = Share(deque([1])), Share(deque([1, 2]))
    assert helpable([small, large]) is large


def test_a_file_in_one_stream_is_not_helped() -> None:
    assert helpable([Share(deque([1]), streams=1, single=True)]) is None


def test_workers_begin_files_before_they_help() -> None:
    schedule: Schedule[str] = Schedule(["a", "b"], workers=2)
    assert schedule.next(None) == "a"
    share = schedule.opened("a", [0, 1])
    assert schedule.next(None) == "b"
    assert schedule.next(share) == ("a", share, Run(0, 1))


def test_workers_go_home_when_all_is_done() -> None:
    schedule: Schedule[str] = Schedule(["a"], workers=2)
    schedule.next(None)
    schedule.finished()
    assert schedule.next(None) is None


def test_an_idle_worker_stays_while_work_may_come_back() -> None:
    schedule: Schedule[str] = Schedule(["a"], workers=2)
    schedule.next(None)
    got: list[object] = []
    idle = threading.Thread(target=lambda: got.append(schedule.next(None)))
    idle.start()
    schedule.finished(again="a, once more")
    idle.join(5)
    assert got == ["a, once more"]


def test_large_files_come_first_and_small_ones_in_batches() -> None:
    files = [wanted(10, seed=1), wanted(SMALL_BYTES + 1, seed=2), wanted(SMALL_BYTES * 50, seed=3), wanted(20)]
    tasks = plan(files, workers=4)
    assert [task.size for task in tasks[:2] if isinstance(task, WantedFile)] == [SMALL_BYTES * 50, SMALL_BYTES + 1]
    assert tasks[2] == WantedBatch((wanted(20), wanted(10, seed=1)))


def test_small_files_are_shared_out_over_the_workers() -> None:
    tasks = plan([wanted(10, seed=seed) for seed in range(100)], workers=4)
    assert [len(task.files) for task in tasks if isinstance(task, WantedBatch)] == [25, 25, 25, 25]


def test_no_worker_is_left_to_fetch_the_last_batch_alone() -> None:
    tasks = plan([wanted(10, seed=seed) for seed in range(2 * BATCH_FILES + 2)], workers=2)
    assert [len(task.files) for task in tasks if isinstance(task, WantedBatch)] == [1537, 1537, 1537, 1535]


@pytest.mark.parametrize(("files", "connections"), [(1, 1), (100, 1), (300, 2), (512, 4), (15_000, 4)])
def test_many_small_files_are_worth_more_connections_of_a_worker(files: int, connections: int) -> None:
    tasks = plan([wanted(10, seed=seed) for seed in range(files)], workers=4)
    assert {task.connections for task in tasks if isinstance(task, WantedBatch)} == {connections}


@given(st.lists(st.integers(0, SMALL_BYTES), max_size=200), st.integers(1, 8))
def test_batches_are_bounded(sizes: list[int], workers: int) -> None:
    tasks = plan((wanted(size, seed=seed) for seed, size in enumerate(sizes)), workers=workers)
    batches = [task for task in tasks if isinstance(task, WantedBatch)]
    assert sum(len(batch.files) for batch in batches) == len(sizes)
    for batch in batches:
        assert len(batch.files) <= BATCH_FILES
        assert sum(file.size for file in batch.files) <= BATCH_BYTES


# -- in which order it is hashed


@given(st.integers(1, 100), st.randoms(use_true_random=False), st.floats(0, 1))
def test_pieces_in_any_order_hash_to_the_file(size: int, draw: random.Random, in_memory: float) -> None:
    content = draw.randbytes(size)
    released: list[memoryview] = []

    def read(offset: int, into: memoryview) -> int:
        got = content[offset : offset + min(len(into), 3)]  # short reads are allowed
        into[: len(got)] = got
        return len(got)

    frontier = Frontier(size=size, piece_bytes=8, read=read, release=released.append)
    offsets = list(range(0, size, 8))
    draw.shuffle(offsets)
    found, deposited = [], 0
    for offset in offsets:
        piece = content[offset : offset + 8]
        if frontier.reached == offset and draw.random() < 0.5:
            found.append(frontier.hash(memoryview(piece), memoryview(bytearray(8))))
            continue
        if draw.random() < in_memory:
            frontier.deposit(offset, memoryview(piece), len(piece))
            deposited += 1
        else:
            frontier.on_disk(offset, offset + len(piece))
        found.append(frontier.advance(memoryview(bytearray(8))))
    assert found[-1] == Digest(hashlib.sha256(content).hexdigest())
    assert set(found[:-1]) <= {None}
    assert len(released) == deposited


def test_pieces_from_many_threads_hash_to_the_file() -> None:
    content = random.Random(1).randbytes(1 << 20)
    frontier = Frontier(size=len(content), piece_bytes=1024, read=lambda *_: 0, release=lambda _: None)
    offsets = list(range(0, len(content), 1024))
    random.Random(2).shuffle(offsets)
    found: list[Digest] = []
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not offsets:
                    return
                offset = offsets.pop()
            piece, scratch = memoryview(content[offset : offset + 1024]), memoryview(bytearray(1024))
            if frontier.reached == offset:
                digest = frontier.hash(piece, scratch)
            else:
                frontier.deposit(offset, piece, 1024)
                digest = frontier.advance(scratch)
            if digest is not None:
                found.append(digest)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Digest(hashlib.sha256(content).hexdigest())]


def test_buffers_are_page_aligned_bounded_and_reused() -> None:
    pool = BufferPool(count=2, size=4096)
    first, second = take(pool), take(pool)
    assert first is not None
    assert second is not None
    assert take(pool) is None
    pool.give(first)
    assert take(pool) is first


def take(pool: BufferPool) -> memoryview | None:
    return pool.take(timeout_s=0.01, unless=lambda: False)


def test_a_full_window_keeps_nobody_waiting_whose_piece_the_frontier_has_come_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cache.transfer.file.WINDOW_PATIENCE_S", 60.0)
    content = random.Random(1).randbytes(2 * PIECE_BYTES)
    ingest = Memory(content)
    tools = [
        Tools([ingest], memoryview(bytearray(PIECE_BYTES)), BufferPool(count=0, size=PIECE_BYTES), link)
        for link in [Link(RetryPolicy(), threading.Event(), Throttle(None, cancel=threading.Event()), METER)] * 2
    ]
    tools[1].pool = tools[0].pool
    opened = OpenFile.resume(wanted(len(content)), ingest, chunk_bytes=PIECE_BYTES, tools=tools[0])
    ahead = ThreadPoolExecutor(1).submit(lambda: opened.fetch(Run(1, 1), sequential=False, tools=tools[1]))
    with pytest.raises(TimeoutError):
        ahead.result(0.2)  # the window is full, as there is none
    assert opened.fetch(Run(0, 0), sequential=False, tools=tools[0]) is None
    assert ahead.result(30) == Digest(hashlib.sha256(content).hexdigest())
    assert ingest.read_back == 0


METER = Meter(bytes_total=0, files_total=1)


class Memory:
    """A source and an ingest in one, in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.read_back = 0

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> io.BytesIO:
        return io.BytesIO(self._content[start:stop])

    def abort(self) -> None:
        """Nothing blocks."""

    def have(self) -> frozenset[int]:
        return frozenset()

    def write(self, offset: int, data: memoryview, /) -> None:
        assert data == self._content[offset : offset + len(data)]

    def written(self, chunk: int, /) -> None:
        """Not looked at."""

    def read(self, offset: int, into: memoryview, /) -> int:
        self.read_back += 1
        into[:] = self._content[offset : offset + len(into)]
        return len(into)

    def commit(self, actual: Digest, /) -> None:
        """Not reached."""

    def close(self) -> None:
        """Nothing is open."""


# -- how failures are waited out


def test_waits_grow_up_to_a_limit() -> None:
    policy = RetryPolicy(first_s=1, factor=2, longest_s=5, jitter=0.5)
    longest = [policy.wait_s(n, OSError(), draw=lambda: 1.0) for n in range(1, 6)]
    shortest = [policy.wait_s(n, OSError(), draw=lambda: 0.0) for n in range(1, 6)]
    assert longest == [1, 2, 4, 5, 5]
    assert shortest == [0.5, 1, 2, 2.5, 2.5]


def test_a_rate_limit_is_waited_out_in_full() -> None:
    assert RetryPolicy().wait_s(1, RateLimited("slow down", retry_after_s=30), draw=lambda: 0.0) == 30


def test_work_is_tried_as_often_as_the_policy_says() -> None:
    tries = []

    def work() -> None:
        tries.append(1)
        raise ConnectionResetError("gone")

    with pytest.raises(SourceUnavailable, match="the work: gone"):
        with_retries(work, policy=RetryPolicy(attempts=3, first_s=0), cancel=threading.Event(), what="the work")
    assert len(tries) == 3


def test_a_cancel_ends_a_wait() -> None:
    cancel = threading.Event()
    threading.Timer(0.05, cancel.set).start()

    def work() -> None:
        raise OSError("gone")

    with pytest.raises(Cancelled):
        with_retries(work, policy=RetryPolicy(first_s=60, longest_s=60), cancel=cancel, what="the work")


def test_a_throttle_lets_bytes_through_at_its_rate() -> None:
    now = [0.0]

    class Cancel(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0
            return False

    throttle = Throttle(Rate(1000, clock=lambda: now[0]), cancel=Cancel())
    for _ in range(100):
        throttle.take(throttle.piece(1 << 20))
    assert now[0] == pytest.approx(25, rel=0.1)  # a hundred pieces of a quarter second's worth


def test_one_rate_holds_for_all_who_share_it_and_is_all_of_one_who_is_alone() -> None:
    now = [0.0]
    rate = Rate(1000, clock=lambda: now[0])
    assert [rate.take(1000), rate.take(1000)] == [pytest.approx(1), pytest.approx(2)]
    now[0] = 10.0
    assert rate.take(1000) == pytest.approx(0.75)  # a quarter of a second may be caught up, no more
