"""A proxy before a registry that remembers which bytes of which blob it let through."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

# Host passes: the registry writes it into the Location of an upload.
HOP_BY_HOP = {"Connection", "Transfer-Encoding", "Content-Length", "Keep-Alive"}


@dataclass
class Transfer:
    """Bytes [start, start + sent) of one blob."""

    digest: str
    start: int
    sent: int = 0


@dataclass
class CountingProxy:
    """``host`` is what a reference names; ``transfers`` holds every answered read of a blob, in order."""

    target: str
    host: str = ""
    transfers: list[Transfer] = field(default_factory=list)

    def bytes_of(self, digest: str) -> int:
        return sum(t.sent for t in self.transfers if t.digest == digest)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[CountingProxy]:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            app = web.Application()

            async def forward(request: web.Request) -> web.StreamResponse:
                return await self._forward(request, session)

            app.router.add_route("*", "/{path:.*}", forward)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.host = f"127.0.0.1:{runner.addresses[0][1]}"
                yield self
            finally:
                await runner.cleanup()

    async def _forward(self, request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        url = f"http://{self.target}{request.rel_url}"
        async with session.request(request.method, url, headers=headers, data=request.content) as answer:
            kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            response.content_length = answer.content_length
            await response.prepare(request)
            transfer = self._transfer(request, answer)
            async for data in answer.content.iter_any():
                await response.write(data)
                if transfer:
                    transfer.sent += len(data)
            return response

    def _transfer(self, request: web.Request, answer: aiohttp.ClientResponse) -> Transfer | None:
        blob = re.search(r"/blobs/(sha256:[0-9a-f]{64})$", request.path)
        if not blob or request.method != "GET" or answer.status not in (200, 206):
            return None
        begin = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        self.transfers.append(Transfer(blob[1], int(begin[1]) if begin else 0))
        return self.transfers[-1]
