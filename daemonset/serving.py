"""Serving an aiohttp application until a block ends."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial

from aiohttp import web

from api.errors import InvalidRequest
from daemonset.sharing.turnstile import LOOK_S, surplus

STOP_S = 2.0  # for requests that are being answered when the agent is told to end
# Our longest line names an exchange and a digest, our longest field is a capability of 2 KiB.
MAX_LINE_BYTES = 2048
MAX_FIELD_BYTES = 4096
MAX_FIELDS = 64
MAX_THREADS = 4  # each keeps a core busy with what it sends over TLS, at about 12 Gb/s


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


@asynccontextmanager
async def serving_in_threads(
    app: Callable[[], web.Application], *, host: str, port: int, tls: ssl.SSLContext | None, threads: int | None = None
) -> AsyncIterator[None]:
    """``app`` makes one for each of the event loops, which share one listening socket; bounded as ``serving`` does.

    As many ``threads`` as there are processors, up to MAX_THREADS. Raises InvalidRequest where it cannot listen.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise InvalidRequest(f"cannot listen: {error.strerror or error}") from error
    listener.setblocking(False)  # who comes second to a connection must not wait for the next
    running = []
    with listener:
        try:
            for _ in range(threads or min(MAX_THREADS, len(os.sched_getaffinity(0)))):
                started: Future[Callable[[], object]] = Future()
                thread = threading.Thread(target=_serve, args=(app, listener.dup(), tls, started), daemon=True)
                thread.start()
                running.append((thread, await asyncio.wrap_future(started)))
            yield
        finally:
            for _, stop in running:
                stop()
            for thread, _ in running:
                await asyncio.to_thread(thread.join)


def _serve(
    app: Callable[[], web.Application],
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    started: Future[Callable[[], object]],
) -> None:
    """The body of a thread: serves until what it tells as ``started`` is called, from any thread."""

    async def run() -> None:
        stop = asyncio.Event()
        async with serving(app(), partial(web.SockSite, sock=listener, ssl_context=tls), bounded=True):
            started.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set))
            await stop.wait()

    try:
        with listener:
            asyncio.run(run())
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


async def _bound(runner: web.AppRunner) -> None:
    """aiohttp takes every connection, and waits for its first request for ever."""
    while True:
        await asyncio.sleep(LOOK_S)
        open_ = [c.transport for c in runner.server.connections if c.transport is not None] if runner.server else []
        clients = [str((transport.get_extra_info("peername") or [""])[0]) for transport in open_]
        for number in surplus(clients):
            open_[number].abort()
