"""A pull's thread, and what the event loop sees of it."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import daemonset.pulling.flight
from cache.transfer.progress import Progress
from daemonset.pulling.flight import STALLED_AFTER_S, Flight, in_thread
from tests.unit.daemonset.doubles import wanted


def flight(*, origin_before: int = 0, trouble: str = "") -> Flight:
    return Flight(wanted("llama"), origin_before=origin_before, peers_before=0, trouble=trouble)


async def test_a_threads_result_and_failure_come_back() -> None:
    assert await in_thread(lambda: 42, cancel=threading.Event(), name="t") == 42
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, cancel=threading.Event(), name="t")


async def test_cancelling_tells_the_thread_and_waits_for_it() -> None:
    cancel, ended = threading.Event(), threading.Event()

    def work() -> None:
        cancel.wait(5)
        time.sleep(0.05)
        ended.set()

    task = asyncio.create_task(in_thread(work, cancel=cancel, name="t"))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_thread_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemonset.pulling.flight, "STOP_S", 0.05)
    release = threading.Event()
    task = asyncio.create_task(in_thread(lambda: release.wait(5), cancel=threading.Event(), name="t"))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()


def test_a_pull_stalls_after_half_a_minute_without_bytes_and_moves_again_with_the_next() -> None:
    pull = flight()
    pull.told(Progress(10, 100, 10, 0, 0, 1))
    later = time.monotonic() + STALLED_AFTER_S
    assert pull.turned(later)
    pull.told(Progress(10, 100, 10, 0, 0, 1))
    assert pull.status(later + 1).reason == "Stalled"
    pull.told(Progress(11, 100, 11, 0, 0, 1))
    assert pull.turned(time.monotonic())
    assert pull.status(time.monotonic()).reason == ""


def test_bytes_of_earlier_attempts_count_and_each_is_counted_once() -> None:
    pull = flight(origin_before=100)
    pull.told(Progress(10, 50, 7, 3, 0, 1))
    assert (pull.bytes_origin, pull.bytes_peers) == (107, 3)
    assert pull.uncounted() == {"origin": 7, "peers": 3}
    assert pull.uncounted() == {"origin": 0, "peers": 0}


def test_the_last_failure_is_named_until_bytes_come() -> None:
    pull = flight(trouble="SourceUnavailable")
    assert pull.status(time.monotonic()).reason == "SourceUnavailable"
    pull.told(Progress(1, 50, 1, 0, 0, 1))
    assert pull.status(time.monotonic()).reason == ""
