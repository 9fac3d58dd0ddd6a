"""When a leader gives up. Who follows it is tried on a real API server, in test_controller_outage.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller import election
from controller.election import Election


class Silent:
    """An API server that answers nothing, once ``silent``."""

    def __init__(self) -> None:
        self.silent = False

    async def get(self, *_: Any, **__: Any) -> dict[str, Any]:
        if self.silent:
            await asyncio.Event().wait()
        return {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "me", "acquireTime": "before"}}

    async def replace(self, _: object, lease: dict[str, Any]) -> dict[str, Any]:
        return lease


@pytest.mark.parametrize("waits_for", ["the next try", "an answer"])
async def test_a_leader_gives_up_in_time_whatever_it_waits_for(waits_for: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others take the Lease when it has run out, LEASE_S after the last renewal: it must not just be about to look."""
    client = Silent()
    led = Election(client, namespace="home", name="leader", identity="me")  # type: ignore[arg-type]
    await led.acquire()
    monkeypatch.setattr(election, "RENEW_WITHIN_S", 0.2)
    monkeypatch.setattr(election, "RETRY_S", 3600.0 if waits_for == "the next try" else 0.0)
    monkeypatch.setattr(election, "ANSWER_S", 3600.0)
    client.silent = True
    async with asyncio.timeout(20):
        await led.hold()
