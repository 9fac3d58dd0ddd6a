"""Which targets a call is working on now.

Two rules meet here. Calls for one target are serial: a second one is turned away with TargetBusy (ABORTED), as the
CSI spec allows. And the report of what is live (recover.py) must not miss a publication that is pinned already and
not yet mounted, so it counts the targets that are worked on, and no work on a further target begins until the agent
has taken the report.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.errors import TargetBusy


class InFlight:
    """Used from the event loop's thread only. Targets are told apart by publication id."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._door = asyncio.Lock()

    @asynccontextmanager
    async def hold(self, publication: str) -> AsyncIterator[None]:
        """Work on one target. Raises TargetBusy where another call does already."""
        async with self._door:
            if publication in self._ids:
                raise TargetBusy("another call for this target is under way")
            self._ids.add(publication)
        try:
            yield
        finally:
            self._ids.discard(publication)

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[frozenset[str]]:
        """The targets worked on now; work on another one waits until this ends."""
        async with self._door:
            yield frozenset(self._ids)
