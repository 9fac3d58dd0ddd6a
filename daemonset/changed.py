"""A change counter that tasks of one event loop wait on: no wake-up is lost between looking and waiting."""

from __future__ import annotations

import asyncio


class Changed:
    """Read ``version``, look at the state, then ``wait(version)``: it returns at once if anything moved meanwhile."""

    def __init__(self) -> None:
        self.version = 0
        self._event = asyncio.Event()

    def set(self) -> None:
        self.version += 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seen: int, *, timeout_s: float | None = None) -> bool:
        """True when there was a change since ``seen``, False when the time was over first."""
        if self.version != seen:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        return True
