"""What serving peers costs an agent: processor seconds per GiB, plain by sendfile and over TLS.

    python -m benchmarks.serving [--total 256MiB] [--times 4] [--folder /var/tmp]

One client, in another process, reads a whole blob again and again and drops it. All connections of an agent are served
by one thread, so what one core does is what a node sends over TLS at most.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from aiohttp import web  # noqa: E402

from api.digest import Digest  # noqa: E402
from api.tree import Tree, TreeFile  # noqa: E402
from benchmarks.group import size  # noqa: E402
from cache.exchange.authority.admission import SharedKey  # noqa: E402
from cache.exchange.authority.identity import read  # noqa: E402
from cache.exchange.authority.tls import PeerTls  # noqa: E402
from cache.exchange.group import Exchanges, Group  # noqa: E402
from cache.exchange.holding import Holding, in_order  # noqa: E402
from cache.store import Store  # noqa: E402
from daemonset.serving import serving  # noqa: E402
from daemonset.sharing import peers  # noqa: E402
from tests.support.exchange_group import free_address, make_key  # noqa: E402

EXCHANGE = "ab" * 32
GIB = 1 << 30
MIB = 1 << 20


def serve(root: Path, address: str, tls: Path | None, total: int, ready: Any, stop: Any, spent: Any) -> None:
    """The body of the serving process: tells the blob's digest, and at the end the processor seconds since."""

    async def run() -> None:
        with Store.open(root) as store:
            content = os.urandom(MIB) * (total // MIB)
            digest = Digest(hashlib.sha256(content).hexdigest())
            with store.stage() as staged:
                staged.write(content)
                staged.commit()
            tree = Tree.of([TreeFile("model.gguf", len(content), digest)])
            store.publish_tree(tree)
            exchanges = Exchanges(Group.listed([address], me=address))
            exchanges.hold(Holding(EXCHANGE, tree, in_order(tree.blobs)))
            secured = PeerTls(read(tls)) if tls else None
            admission = SharedKey(secured.identity.key) if secured else None
            app = peers.application(exchanges, store=store, admission=admission)
            host, _, port = address.rpartition(":")
            site = partial(web.TCPSite, host=host, port=int(port), ssl_context=secured.server if secured else None)
            async with serving(app, site):
                before = sum(os.times()[:2])
                ready.put(str(digest))
                await asyncio.to_thread(stop.wait)
                spent.put(sum(os.times()[:2]) - before)

    asyncio.run(run())


def read_all(address: str, digest: str, *, tls: Path | None) -> int:
    secured = PeerTls(read(tls)) if tls else None
    host, _, port = address.rpartition(":")
    opened: socket.socket = socket.create_connection((host, int(port)))
    if secured is not None:
        opened = secured.connect(opened, key=secured.identity.key)
    with opened:
        path = f"/v2/warmset/{EXCHANGE}/blobs/{digest}"
        opened.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        buffer, got = memoryview(bytearray(MIB)), 0
        while count := opened.recv_into(buffer):
            got += count
    return got


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--total", type=size, default=size("256MiB"))
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk, not tmpfs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="warmset-serving-", dir=arguments.folder) as name:
        folder = Path(name)
        key = make_key(folder / "group.key")
        for what, tls in (("plain", None), ("TLS", key)):
            address = free_address()
            ready, spent, stop = multiprocessing.Queue(), multiprocessing.Queue(), multiprocessing.Event()
            server = multiprocessing.Process(
                target=serve, args=(folder / what, address, tls, arguments.total, ready, stop, spent)
            )
            server.start()
            digest = ready.get(timeout=60)
            began = time.monotonic()
            got = sum(read_all(address, digest, tls=tls) for _ in range(arguments.times))
            seconds = time.monotonic() - began
            stop.set()
            cost = spent.get(timeout=60) / (got / GIB)
            server.join()
            print(f"{what:6} {got / seconds / MIB:7.0f} MiB/s {cost:6.2f} CPU-s/GiB", flush=True)


if __name__ == "__main__":
    main()
