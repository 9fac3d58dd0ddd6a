"""Calls for one target are serial, and a report of what is live misses none of them."""

from __future__ import annotations

import asyncio

import pytest

from api.errors import TargetBusy
from csi.inflight import InFlight


async def test_second_call_for_a_target_is_turned_away() -> None:
    in_flight = InFlight()
    async with in_flight.hold("a"):
        with pytest.raises(TargetBusy):
            async with in_flight.hold("a"):
                pass


async def test_call_that_was_turned_away_does_not_free_the_target() -> None:
    in_flight = InFlight()
    async with in_flight.hold("a"):
        for _ in range(2):
            with pytest.raises(TargetBusy):
                async with in_flight.hold("a"):
                    pass


async def test_other_targets_are_not_held_up() -> None:
    in_flight = InFlight()
    async with in_flight.hold("a"), in_flight.hold("b"), in_flight.frozen() as working:
        assert working == {"a", "b"}


async def test_target_is_free_after_a_call_that_failed() -> None:
    in_flight = InFlight()
    with pytest.raises(RuntimeError):
        async with in_flight.hold("a"):
            raise RuntimeError
    async with in_flight.hold("a"):
        pass


async def test_new_work_waits_until_the_report_is_out() -> None:
    in_flight = InFlight()
    order: list[str] = []

    async def work() -> None:
        async with in_flight.hold("a"):
            order.append("work")

    async with in_flight.frozen() as working:
        assert working == frozenset()
        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        order.append("report")
    await task
    assert order == ["report", "work"]
