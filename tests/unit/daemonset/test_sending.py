"""What is on its way to a peer counts as sent when it has left, and not before: by that a slow link is known."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cache.exchange.authority.identity import Identity
from cache.exchange.authority.tls import PeerTls
from daemonset.sharing.sending import sending

SMALL = 64 << 10  # asked of the kernel for its buffers, so that they hold a small part of what is sent
SIZE = 1 << 20


async def test_over_tls_nothing_counts_as_sent_while_the_peer_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chunk"
    path.write_bytes(bytes(SIZE))
    begun, ended = asyncio.Event(), asyncio.Event()

    @contextlib.contextmanager
    def booked() -> Iterator[None]:
        begun.set()
        yield
        ended.set()

    async def handler(request: web.Request) -> web.StreamResponse:
        return sending(request, path.open("rb"), around=booked)

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    server, client = (PeerTls(Identity(Ed25519PrivateKey.generate())) for _ in range(2))
    runner = web.AppRunner(app)
    await runner.setup()
    listening, connected = socket.socket(), socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    listening.bind(("127.0.0.1", 0))
    await web.SockSite(runner, listening, ssl_context=server.server).start()
    try:
        connected.connect(listening.getsockname())
        connected.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=connected, ssl=client.client, server_hostname="", limit=SMALL
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n")
        await asyncio.wait_for(begun.wait(), 30)
        await asyncio.sleep(0.3)  # in which all of it would long have been read and encrypted
        assert not ended.is_set()
        taken = 0
        while got := await reader.read(SIZE):
            taken += len(got)
        assert taken > SIZE
        await asyncio.wait_for(ended.wait(), 30)
        writer.close()
    finally:
        await runner.cleanup()
