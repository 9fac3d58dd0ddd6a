"""Work by key: once while it waits, once more if it changes while worked on, later when it failed."""

from __future__ import annotations

import asyncio

import pytest

from controller.queue import WorkQueue


async def test_a_key_that_waits_is_one_piece_of_work() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert await queue.take() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_comes_once_more_and_never_twice_at_a_time() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.take() == "a"
    queue.add("a")
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.02)
    queue.done("a")
    assert await queue.take() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_failed_work_comes_back_later_and_later() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    waits = []
    for _ in range(4):
        queue.add("a")
        await queue.take()
        waits.append(queue.failed("a"))
    assert waits == [0.25, 0.5, 1.0, 2.0]
    queue.add("a")
    await queue.take()
    queue.done("a")
    queue.add("a")
    await queue.take()
    assert queue.failed("a") == 0.25
    queue.close()


async def test_of_several_delays_the_soonest_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_later("a", 60)
    queue.add_later("a", 0.01)
    queue.add_later("a", 60)
    assert await asyncio.wait_for(queue.take(), 1) == "a"
    queue.close()
