"""An agent that has trees and pins, and can be told to refuse: the protocol of api/node.py without a store.

It runs in the test's event loop on a real unix socket. Pins live as long as it does, as the real agent's files would.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec
from aiohttp import web

from api.node import LiveSet, NodeError, Publication, PublishRequest


@dataclass
class FakeAgent:
    """``models`` maps namespace/name to the revision and tree a publication gets."""

    socket: Path
    cache_root: Path
    models: dict[str, tuple[str, str]] = field(default_factory=dict)
    pins: dict[str, Publication] = field(default_factory=dict)
    refusals: dict[str, tuple[int, NodeError]] = field(default_factory=dict)  # by method: POST, DELETE, GET, PUT
    hold_s: float = 0.0  # before a POST is answered
    asked: list[PublishRequest] = field(default_factory=list)
    reports: list[LiveSet] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)  # when each DELETE was made, by its own word
    _runner: web.AppRunner | None = None

    def add_tree(self, model: str, files: dict[str, bytes], *, revision: str = "r1") -> Path:
        """Put a model's files where the store would have them; returns the tree's folder."""
        hex_digest = hashlib.sha256(repr((model, revision, sorted(files))).encode()).hexdigest()
        folder = self.cache_root / "trees" / hex_digest
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o444)
        self.models[model] = (revision, f"sha256:{hex_digest}")
        return folder

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application(middlewares=[self._refuse])
        app.add_routes(
            [
                web.post("/v1/publications", self._publish),
                web.get("/v1/publications", self._list),
                web.delete("/v1/publications/{id}", self._unpublish),
                web.put("/v1/live", self._live),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.socket.unlink(missing_ok=True)

    def refuse(self, method: str, reason: str, *, status: int = 500) -> None:
        self.refusals[method] = (status, NodeError(reason=reason, message=f"the test wants {reason}"))

    @web.middleware
    async def _refuse(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method in self.refusals:
            status, refusal = self.refusals[request.method]
            return _answer(refusal, status=status)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _publish(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=PublishRequest)
        self.asked.append(wanted)
        if self.hold_s > wanted.wait_s:
            await asyncio.sleep(wanted.wait_s)
            return _answer(NodeError(reason="Pulling", message="not yet"), status=409)
        await asyncio.sleep(self.hold_s)
        if wanted.model not in self.models:
            return _answer(NodeError(reason="NotFound", message="no such model"), status=404)
        revision, tree = self.models[wanted.model]
        pin = Publication(
            id=wanted.id, tree=tree, model=wanted.model, revision=revision, bytes=11, files=2, pod_uid=wanted.pod_uid
        )
        self.pins[wanted.id] = pin
        return _answer(pin)

    async def _unpublish(self, request: web.Request) -> web.Response:
        self.ended.append(int(request.query["at"]))
        self.pins.pop(request.match_info["id"], None)
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.Response:
        return _answer(list(self.pins.values()))

    async def _live(self, request: web.Request) -> web.Response:
        live = msgspec.json.decode(await request.read(), type=LiveSet)
        ids = set(live.ids)
        self.reports.append(live)
        self.pins = {key: pin for key, pin in self.pins.items() if key in ids}
        return web.Response(status=204)


def _answer(body: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
