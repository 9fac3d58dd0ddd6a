"""Writes the node's status: changes of state at once, progress seldom, and a sign of life when nothing happens.

Every write costs the API server and everybody who watches NodeCaches, so a cluster of 5,000 idle nodes must stay
under ten writes a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import monotonic
from typing import NoReturn

import msgspec
import structlog

from api.errors import WarmsetError
from api.resources import NodeCacheStatus, NodeModelStatus
from daemonset.changed import Changed

PROGRESS_S = 30.0
IDLE_S = 600.0
RETRY_S = (1.0, 60.0)  # first and longest pause after a write that failed

log = structlog.get_logger()


def due_in_s(
    written: NodeCacheStatus | None, current: NodeCacheStatus, *, age_s: float, idle_s: float = IDLE_S
) -> float:
    """Seconds until the next write, the last one being ``age_s`` old; 0 or less means now."""
    if written is None or _facts(written) != _facts(current):
        return 0.0
    return (PROGRESS_S if _figures(written) != _figures(current) else idle_s) - age_s


def first_idle_s() -> float:
    """From a write that said something to the next sign of life: nodes that have news together, because they start or
    become warm together, must not stay together."""
    return random.uniform(IDLE_S / 10, IDLE_S)  # noqa: S311


class Reporter:
    """``current`` makes the status to write; ``changed`` says that its facts may be others."""

    def __init__(
        self,
        *,
        current: Callable[[], Awaitable[NodeCacheStatus]],
        write: Callable[[NodeCacheStatus], Awaitable[None]],
        changed: Changed,
    ) -> None:
        self._current = current
        self._write = write
        self._changed = changed
        self._written: NodeCacheStatus | None = None
        self._written_at = 0.0
        self._idle_s = IDLE_S
        self._new = asyncio.Event()

    def forget(self) -> None:
        """The object was made, perhaps in place of another: write the whole, now."""
        self._written = None
        self._new.set()
        self._changed.set()

    async def run(self) -> NoReturn:
        failures = 0
        while True:
            seen = self._changed.version
            try:
                wait_s = await self._write_if_due()
                failures = 0
            except WarmsetError as error:
                failures += 1
                wait_s = min(RETRY_S[1], RETRY_S[0] * 2 ** min(failures - 1, 16)) * random.uniform(0.5, 1)  # noqa: S311
                log.warning("status.not_written", error=str(error), retry_in_s=round(wait_s, 1))
                # Changes of ours do not hasten the next try: the server may be in trouble because of many such.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._new.wait()
                self._new.clear()
                continue
            # Jitter spreads the idle writes of nodes that were started together.
            await self._changed.wait(seen, timeout_s=wait_s * random.uniform(1.0, 1.1))  # noqa: S311

    async def _write_if_due(self) -> float:
        """Returns the seconds until it is worth looking again."""
        status = await self._current()
        wait_s = due_in_s(self._written, status, age_s=monotonic() - self._written_at, idle_s=self._idle_s)
        if wait_s <= 0:
            await self._put(status)
            wait_s = self._idle_s
        if any(model.state == "Pulling" for model in status.models):
            return min(wait_s, PROGRESS_S)  # progress makes no change of its own
        return wait_s

    async def _put(self, status: NodeCacheStatus) -> None:
        await self._write(msgspec.structs.replace(status, last_update=datetime.now(UTC).isoformat(timespec="seconds")))
        before, self._written = self._written, status
        news = before is None or (_facts(before), _figures(before)) != (_facts(status), _figures(status))
        self._idle_s = first_idle_s() if news else IDLE_S
        self._written_at = monotonic()


def _facts(status: NodeCacheStatus) -> object:
    """What others act upon."""
    models = [(m.model, m.revision, m.state, m.tree, m.reason, m.corrupted_at) for m in status.models]
    aside = [(one.peer, one.reason) for one in status.peers_set_aside]
    return status.node_uid, status.cache_id, status.agent, status.paused, models, aside


def _figures(status: NodeCacheStatus) -> object:
    return status.capacity, status.used, status.reserved, [_bytes(model) for model in status.models]


def _bytes(model: NodeModelStatus) -> object:
    return model.bytes_done, model.bytes_total, model.bytes_origin, model.bytes_peers, model.message
