"""A broker on loopback that answers what a test tells it to, over real TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from aiohttp import web

from api.broker import GrantRequest
from daemonset.config import Broker
from tests.support.certificates import make_server_certificate

Answer = Callable[[GrantRequest], tuple[int, bytes]]


@dataclass
class BrokerServer:
    """``answer`` may be replaced at any time; ``asked`` and ``tokens`` keep what came."""

    broker: Broker
    answer: Answer
    asked: list[GrantRequest] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    async def grants(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers["Authorization"])
        self.asked.append(msgspec.json.decode(await request.read(), type=GrantRequest))
        status, body = self.answer(self.asked[-1])
        return web.Response(status=status, body=body)


@asynccontextmanager
async def serve_broker(folder: Path, *, answer: Answer, token: str = "token-1") -> AsyncIterator[BrokerServer]:
    ca, tls = make_server_certificate(folder)
    token_file = folder / "token"
    token_file.write_text(f"{token}\n")
    server = BrokerServer(Broker(url="", ca_file=ca, token_file=token_file), answer)
    app = web.Application()
    app.router.add_post("/v1/grants", server.grants)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    server.broker = Broker(url=url, ca_file=ca, token_file=token_file)
    try:
        yield server
    finally:
        await runner.cleanup()
        await asyncio.sleep(0.05)  # closed TLS transports need one more turn of the loop
