"""Tells the agent what is mounted: at start, and every minute.

The agent cannot see kubelet's mounts, so it holds every pin it finds and evicts nothing until it has heard from here.
The report frees the pins that a crash, a reboot or an agent's absence left behind. Nothing is ever mounted or
unmounted by it.
"""

from __future__ import annotations

import asyncio
import time
from typing import NoReturn

import structlog

from api.errors import WarmsetError
from api.node import LiveSet
from csi.agent_client import AgentClient
from csi.config import Config
from csi.inflight import InFlight
from csi.mountinfo import read_mounts
from csi.published import live

PERIOD_S = 60.0
RETRY_S = 5.0  # while the agent has not taken a report: it may not evict until then
log = structlog.get_logger()


class Recovery:
    """``started`` is set after the first reading of the mount table, whether or not the agent took the report."""

    def __init__(self, *, config: Config, agent: AgentClient, in_flight: InFlight, started: asyncio.Event) -> None:
        self._config = config
        self._agent = agent
        self._in_flight = in_flight
        self._started = started

    async def run(self) -> NoReturn:
        while True:
            try:
                await self.report()
                pause_s = PERIOD_S
            except WarmsetError as error:
                log.warning("live.failed", reason=error.reason, message=error.message)
                pause_s = RETRY_S
            await asyncio.sleep(pause_s)

    async def report(self) -> None:
        """One report. Raises a WarmsetError; the next one makes up for it."""
        config = self._config
        async with self._in_flight.frozen() as working:
            at = time.monotonic_ns()
            mounts = await asyncio.to_thread(read_mounts)
            self._started.set()
            found = live(mounts, kubelet_dir=config.kubelet_dir, cache_root=config.cache_root)
            mounted = {published.target.id for published in found}
            trees = {published.target.id: str(published.tree) for published in found if published.tree is not None}
            await self._agent.put_live(LiveSet(ids=sorted(mounted | working), trees=trees, at=at))
        log.debug("live.reported", mounted=len(mounted), working=len(working))
