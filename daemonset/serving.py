"""Serving an aiohttp application until a block ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from api.errors import InvalidRequest
from daemonset.sharing.turnstile import LOOK_S, surplus

STOP_S = 2.0  # for requests that are being answered when the agent is told to end
# Our longest line names an exchange and a digest, our longest field is a capability of 2 KiB.
MAX_LINE_BYTES = 2048
MAX_FIELD_BYTES = 4096
MAX_FIELDS = 64


@asynccontextmanager
async def serving(
    app: web.Application, site: Callable[[web.AppRunner], web.BaseSite], *, bounded: bool = False
) -> AsyncIterator[None]:
    """``bounded`` closes connections beyond what a client may have. A caller that hangs up takes its handler with it.

    Raises InvalidRequest where it cannot listen.
    """
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        shutdown_timeout=STOP_S,
        access_log=None,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_FIELD_BYTES,
        max_headers=MAX_FIELDS,
    )
    await runner.setup()
    watch = asyncio.create_task(_bound(runner), name="connections") if bounded else None
    try:
        try:
            await site(runner).start()
        except OSError as error:
            raise InvalidRequest(f"cannot listen: {error.strerror or error}") from error
        yield
    finally:
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        await runner.cleanup()


async def _bound(runner: web.AppRunner) -> None:
    """aiohttp takes every connection, and waits for its first request for ever."""
    while True:
        await asyncio.sleep(LOOK_S)
        open_ = [c.transport for c in runner.server.connections if c.transport is not None] if runner.server else []
        clients = [str((transport.get_extra_info("peername") or [""])[0]) for transport in open_]
        for number in surplus(clients):
            open_[number].abort()
