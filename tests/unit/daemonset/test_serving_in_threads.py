"""One address served from several threads, as peers are."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession, web

from api.errors import InvalidRequest
from daemonset.serving import serving_in_threads
from tests.support.exchange_group import free_address


async def get(address: str, path: str) -> str:
    async with ClientSession() as session, session.get(f"http://{address}{path}") as answer:
        return await answer.text()


async def test_a_thread_that_is_busy_holds_up_nobody_else() -> None:
    busy, go_on = threading.Event(), threading.Event()

    async def block(_: web.Request) -> web.Response:
        busy.set()
        go_on.wait(20)
        return web.Response(text="done")

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    def application() -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/blocks", block), web.get("/", answer)])
        return app

    address = free_address()
    host, _, port = address.rpartition(":")
    async with serving_in_threads(application, host=host, port=int(port), tls=None, threads=2):
        blocked = asyncio.create_task(get(address, "/blocks"))
        await asyncio.to_thread(busy.wait, 20)
        async with asyncio.timeout(20):
            assert [await get(address, "/") for _ in range(5)] == ["here"] * 5
        go_on.set()
        assert await blocked == "done"


async def test_an_address_that_is_taken_is_refused_by_name() -> None:
    host, _, port = free_address().rpartition(":")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving_in_threads(web.Application, host=host, port=int(port), tls=None))
        with pytest.raises(InvalidRequest, match="cannot listen"):
            await stack.enter_async_context(serving_in_threads(web.Application, host=host, port=int(port), tls=None))


async def test_what_fails_in_a_thread_while_it_begins_is_raised() -> None:
    def broken() -> web.Application:
        raise RuntimeError("no application")

    host, _, port = free_address().rpartition(":")
    with pytest.raises(RuntimeError, match="no application"):
        async with serving_in_threads(broken, host=host, port=int(port), tls=None):
            raise AssertionError("it has begun")
