"""The reflector against an API server that fails in every way a watch can."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from aiohttp import web

import kube.reflector
from kube.client import Client
from kube.reflector import Reflector
from kube.resources import CONFIG_MAP

Program = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def config_map(name: str, version: int) -> dict[str, object]:
    return {"metadata": {"namespace": "default", "name": name, "resourceVersion": str(version)}}


class FakeServer:
    """Answers lists from ``objects`` and plays one step of ``watches`` for each watch."""

    def __init__(self) -> None:
        self.objects = [config_map("first", 10)]
        self.version = 10
        self.watches: list[Program] = []
        self.lists: list[str] = []
        self.watched_from: list[str] = []
        self.list_failures: list[int] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.lists.append(request.query.get("resourceVersion", ""))
            if self.list_failures:
                return web.json_response({"reason": "Fault", "message": "on purpose"}, status=self.list_failures.pop(0))
            body = {"metadata": {"resourceVersion": str(self.version)}, "items": self.objects}
            return web.json_response(body)
        self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        step = self.watches.pop(0) if self.watches else silent
        await step(request, response)
        return response

    @asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator[Client]:
        app = web.Application()
        app.router.add_get("/api/v1/configmaps", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        kubeconfig = folder / "kubeconfig"
        context = {"name": "t", "context": {"cluster": "t", "user": "t"}}
        clusters = [{"name": "t", "cluster": {"server": f"http://127.0.0.1:{port}"}}]
        users = [{"name": "t", "user": {"token": "t"}}]
        kubeconfig.write_text(
            yaml.safe_dump({"clusters": clusters, "users": users, "contexts": [context], "current-context": "t"})
        )
        try:
            async with await Client.connect(kubeconfig=kubeconfig) as client:
                yield client
        finally:
            await runner.cleanup()


def event(kind: str, obj: dict[str, object]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


async def silent(_: web.Request, __: web.StreamResponse) -> None:
    await asyncio.sleep(30)


def send(*events: bytes, then: Program | None = None) -> Program:
    async def step(request: web.Request, response: web.StreamResponse) -> None:
        for data in events:
            await response.write(data)
        if then:
            await then(request, response)

    return step


async def abort(request: web.Request, _: web.StreamResponse) -> None:
    assert request.transport is not None
    request.transport.abort()


GONE = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def soon(attempt: int, **_: float) -> None:
        await asyncio.sleep(0.01)

    monkeypatch.setattr(kube.reflector, "backoff", soon)


@asynccontextmanager
async def reflecting(server: FakeServer, folder: Path) -> AsyncIterator[Reflector]:
    async with server.running(folder) as client:
        reflector = Reflector(client, CONFIG_MAP)
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.01)


async def test_a_closed_watch_goes_on_from_where_it_was(tmp_path: Path) -> None:
    server = FakeServer()
    server.watches = [send(event("ADDED", config_map("second", 11))), send(event("ADDED", config_map("third", 12)))]
    async with reflecting(server, tmp_path) as reflector:
        await until(lambda: len(reflector.items) == 3 and len(server.watched_from) >= 3)
    assert server.watched_from[:3] == ["10", "11", "12"]
    assert len(server.lists) == 1


async def test_an_aborted_connection_goes_on_without_a_list(tmp_path: Path) -> None:
    server = FakeServer()
    server.watches = [
        send(event("ADDED", config_map("second", 11)), then=abort),
        send(event("DELETED", config_map("first", 12)), then=silent),
    ]
    async with reflecting(server, tmp_path) as reflector:
        await until(lambda: list(reflector.items) == [("default", "second")])
    assert len(server.lists) == 1


async def test_lost_history_means_a_new_consistent_list(tmp_path: Path) -> None:
    server = FakeServer()

    async def forget(request: web.Request, response: web.StreamResponse) -> None:
        server.objects, server.version = [config_map("other", 20)], 20
        await response.write(GONE)

    server.watches = [forget]
    async with reflecting(server, tmp_path) as reflector:
        await until(lambda: list(reflector.items) == [("default", "other")])
    assert server.lists == ["0", ""]


async def test_a_bookmark_moves_the_version_along(tmp_path: Path) -> None:
    server = FakeServer()
    server.watches = [send(event("BOOKMARK", {"metadata": {"resourceVersion": "77"}}))]
    async with reflecting(server, tmp_path):
        await until(lambda: len(server.watched_from) >= 2)
    assert server.watched_from[:2] == ["10", "77"]


@pytest.mark.parametrize("status", [500, 429, 403])
async def test_a_failed_list_is_tried_again(tmp_path: Path, status: int) -> None:
    server = FakeServer()
    server.list_failures = [status, status]
    async with reflecting(server, tmp_path) as reflector:
        await until(reflector.synced.is_set)
    assert len(server.lists) == 3


async def test_a_half_open_watch_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube.reflector, "IDLE_S", 0.2)
    server = FakeServer()
    server.watches = [silent, send(event("ADDED", config_map("second", 11)), then=silent)]
    async with reflecting(server, tmp_path) as reflector:
        await until(lambda: ("default", "second") in reflector.items)
    assert server.watched_from[:2] == ["10", "10"]


async def test_an_event_split_over_many_packets_is_read_whole(tmp_path: Path) -> None:
    server = FakeServer()
    data = event("ADDED", config_map("second", 11))

    async def dribble(_: web.Request, response: web.StreamResponse) -> None:
        for start in range(0, len(data), 7):
            await response.write(data[start : start + 7])
            await asyncio.sleep(0)
        await asyncio.sleep(30)

    server.watches = [dribble]
    async with reflecting(server, tmp_path) as reflector:
        await until(lambda: ("default", "second") in reflector.items)
