"""What serving peers costs an agent: processor seconds per GiB, plain by sendfile and over TLS, and what cores add.

    python -m benchmarks.serving [--total 256MiB] [--times 4] [--threads 1 2] [--folder /var/tmp]

Four clients, each a process of its own, read a whole blob again and again. They leave what comes to the kernel to drop,
undeciphered, so that the cores are the server's: a client that deciphers needs as much as the server does.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from api.digest import Digest  # noqa: E402
from api.tree import Tree, TreeFile  # noqa: E402
from benchmarks.group import size  # noqa: E402
from cache.exchange.authority import identity  # noqa: E402
from cache.exchange.authority.admission import SharedKey  # noqa: E402
from cache.exchange.authority.tls import PeerTls  # noqa: E402
from cache.exchange.group import Exchanges, Group  # noqa: E402
from cache.exchange.holding import Holding, in_order  # noqa: E402
from cache.store import Store  # noqa: E402
from daemonset.serving import serving_in_threads  # noqa: E402
from daemonset.sharing import peers  # noqa: E402
from daemonset.sharing.turnstile import Turnstile  # noqa: E402
from tests.support.exchange_group import free_address, make_key  # noqa: E402

EXCHANGE = "ab" * 32
GIB = 1 << 30
MIB = 1 << 20
CLIENTS = 4


def serve(
    root: Path, address: str, tls: Path | None, total: int, threads: int, ready: Any, stop: Any, spent: Any
) -> None:
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
            secured = PeerTls(identity.read(tls)) if tls else None
            admission = SharedKey(secured.identity.key) if secured else None
            app = partial(peers.application, exchanges, store=store, admission=admission, turnstile=Turnstile())
            host, _, port = address.rpartition(":")
            context = secured.server if secured else None
            async with serving_in_threads(app, host=host, port=int(port), tls=context, threads=threads):
                before = sum(os.times()[:2])
                ready.put(str(digest))
                await asyncio.to_thread(stop.wait)
                spent.put(sum(os.times()[:2]) - before)

    asyncio.run(run())


def read(address: str, digest: str, tls: Path | None, total: int, times: int) -> None:
    secured = PeerTls(identity.read(tls)) if tls else None
    host, _, port = address.rpartition(":")
    opened: socket.socket = socket.create_connection((host, int(port)))
    if secured is not None:
        opened = secured.connect(opened, key=secured.identity.key)
    request = f"GET /v2/warmset/{EXCHANGE}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    buffer = bytearray(MIB)
    with opened, socket.socket(fileno=os.dup(opened.fileno())) as raw:
        for _ in range(times):
            opened.sendall(request)
            got = 0
            while got < total:  # what TLS adds to them comes before the next answer
                got += raw.recv_into(buffer, MIB, socket.MSG_TRUNC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--total", type=size, default=size("256MiB"))
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk, not tmpfs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="warmset-serving-", dir=arguments.folder) as name:
        folder = Path(name)
        key = make_key(folder / "group.key")
        for (what, tls), threads in itertools.product((("plain", None), ("TLS", key)), arguments.threads):
            address = free_address()
            ready, spent, stop = multiprocessing.Queue(), multiprocessing.Queue(), multiprocessing.Event()
            server = multiprocessing.Process(
                target=serve,
                args=(folder / f"{what}-{threads}", address, tls, arguments.total, threads, ready, stop, spent),
            )
            server.start()
            digest = ready.get(timeout=60)
            began = time.monotonic()
            with ProcessPoolExecutor(CLIENTS) as clients:
                work = (address, digest, tls, arguments.total, arguments.times)
                for one in [clients.submit(read, *work) for _ in range(CLIENTS)]:
                    one.result()
            got = CLIENTS * arguments.times * arguments.total
            seconds = time.monotonic() - began
            stop.set()
            cost = spent.get(timeout=60) / (got / GIB)
            server.join()
            print(f"{what:6} {threads} threads {got / seconds / MIB:7.0f} MiB/s {cost:6.2f} CPU-s/GiB", flush=True)


if __name__ == "__main__":
    main()
