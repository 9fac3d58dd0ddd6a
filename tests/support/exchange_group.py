"""Nodes that share pulls over loopback, all in this process: each a store, and a server for its peers in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.digest import Digest
from api.reference import parse_reference
from cache.exchange.authority.admission import Admission
from cache.exchange.authority.tls import PeerTls
from cache.exchange.bits import below
from cache.exchange.group import Exchanges, Group, Running
from cache.exchange.holding import remembered
from cache.exchange.peer import write_state
from cache.exchange.view import State
from cache.pull import Pulled, pull
from cache.sources import SourceOptions
from cache.store import Store
from cache.transfer.throttle import Rate
from daemonset.sharing import peers
from daemonset.sharing.turnstile import Turnstile
from tests.support.fake_registry import FakeRegistry
from tests.support.faulty_link import FaultyLink
from tests.support.processes import free_port

MIB = 1 << 20


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


def make_key(path: Path) -> Path:
    """A group's key."""
    private = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


class Model:
    """A model of two large files and a small one in a registry that counts what leaves it."""

    def __init__(self, registry: FakeRegistry, *, large: Sequence[int] = (25 * MIB + 17, 14 * MIB)) -> None:
        self.registry = registry
        self.files = {f"model-{n}.safetensors": os.urandom(size) for n, size in enumerate(large)}
        self.files |= {"config.json": b"{}", "tokenizer.json": os.urandom(300_000)}
        self.revision = registry.add_model("models/m", "v1", self.files)
        self.reference = f"oci://{registry.host}/models/m:v1"
        self.pinned = f"oci://{registry.host}/models/m@{self.revision}"

    @property
    def size(self) -> int:
        return sum(len(content) for content in self.files.values())

    @property
    def chunks(self) -> int:
        """Of the whole, where it is too small for chunks of more than a mebibyte."""
        return sum(-(-len(content) // MIB) for content in self.files.values())

    @property
    def sent(self) -> int:
        """Bytes of blobs that left the registry."""
        return self.registry.blob_bytes()

    def check(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            assert node.pulled is not None
            for name, content in self.files.items():
                assert (node.pulled.path / name).read_bytes() == content


class Serving:
    """An aiohttp application served in a thread of its own."""

    def __init__(self, app: web.Application, *, address: str, tls: PeerTls | None = None) -> None:
        self._app = app
        self._tls = tls.server if tls else None
        self._host, _, self._port = address.rpartition(":")
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Serving:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        runner = web.AppRunner(self._app, handler_cancellation=True, shutdown_timeout=0.2, access_log=None)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, self._host, int(self._port), ssl_context=self._tls).start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()


@dataclass(slots=True)
class _Meeting(Exchanges):
    """Begins when all who pull together do: on a busy machine one might be done before another has begun."""

    all_here: threading.Barrier | None = None

    def begin(self, exchange: str, running: Running) -> None:
        Exchanges.begin(self, exchange, running)
        if self.all_here is not None:
            with contextlib.suppress(threading.BrokenBarrierError):  # one of them needs no exchange
                self.all_here.wait(5)


class Node:
    """``listen`` is where it serves, if something stands before ``me``; ``limit`` is for what it takes in.

    ``above`` are the members of the cohort that it reads from; ``group`` in place of both lists, where members are more
    than addresses; ``admission`` is then asked of all clients.
    """

    def __init__(
        self,
        root: Path,
        *,
        members: Sequence[str] = (),
        above: Sequence[str] = (),
        me: str,
        listen: str = "",
        group: Group | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.address = me
        self.limit: Rate | None = None
        self.sha256: Mapping[str, Digest] = {}
        self.tree: Digest | None = None
        self.cancel = threading.Event()
        self.exchanges = _Meeting(group or Group.listed(members, me=me, above=above))
        self.store = Store.open(root)
        for holding in remembered(self.store):
            self.exchanges.hold(holding)
        access = self.exchanges.group.access
        app = peers.application(self.exchanges, store=self.store, admission=admission, turnstile=Turnstile())
        self._serving = Serving(app, address=listen or me, tls=access.tls if access else None)
        self.pulled: Pulled | None = None
        self.error: Exception | None = None

    def __enter__(self) -> Node:
        self._serving.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__()
        self.store.close()

    def pull(self, reference: str, *, plain_http: str) -> None:
        try:
            self.pulled = pull(
                self.store,
                parse_reference(reference),
                options=SourceOptions(plain_http=frozenset({plain_http}), ambient=reference.startswith("file:")),
                exchanges=self.exchanges,
                limit=self.limit,
                sha256=self.sha256,
                tree=self.tree,
                cancel=self.cancel,
            )
        except Exception as error:
            self.error = error


def start_linked_nodes(stack: ExitStack, folder: Path, *, count: int) -> list[tuple[Node, FaultyLink]]:
    """Each behind a link that a test can break."""
    members, own = [free_address() for _ in range(count)], [free_address() for _ in range(count)]
    found = []
    for number, (me, listen) in enumerate(zip(members, own, strict=True)):
        link = stack.enter_context(FaultyLink(me, target=listen))
        node = Node(folder / f"node-{number}", members=members, me=me, listen=listen)
        found.append((stack.enter_context(node), link))
    return found


def start_nodes(
    stack: ExitStack, folder: Path, *, count: int, strangers: Sequence[str] = (), above: Sequence[str] = ()
) -> list[Node]:
    """``strangers`` are addresses in the members' list that the caller serves, or nobody; ``above`` as of a Node."""
    own = [free_address() for _ in range(count)]
    members = [*own, *strangers]
    nodes = [Node(folder / f"node-{i}", members=members, above=above, me=me) for i, me in enumerate(own)]
    return [stack.enter_context(node) for node in nodes]


def begin(nodes: Sequence[Node], reference: str, *, plain_http: str) -> list[threading.Thread]:
    """They know of each other before the first byte comes."""
    all_here = threading.Barrier(len(nodes))
    for node in nodes:
        node.exchanges.all_here = all_here
    threads = [
        threading.Thread(target=node.pull, args=(reference,), kwargs={"plain_http": plain_http}, daemon=True)
        for node in nodes
    ]
    for thread in threads:
        thread.start()
    return threads


def pull_together(nodes: Sequence[Node], reference: str, *, plain_http: str) -> None:
    wait_for(begin(nodes, reference, plain_http=plain_http), nodes)


def wait_for(threads: Sequence[threading.Thread], nodes: Sequence[Node]) -> None:
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    for node in nodes:
        if node.error is not None:
            raise node.error


def at_half(node: Node, model: Model, then: Callable[[], None]) -> None:
    """Wait until the node has about half of its chunks."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        running = next(iter(node.exchanges._running.values()), None)
        if running is not None and running.coordinator.state.have.bit_count() >= model.chunks // 2:
            return then()
        time.sleep(0.01)
    raise AssertionError("the pull never came to its half")


class Impostor:
    """A member that says that it has all, and answers a request for bytes as ``blob`` does."""

    def __init__(self, stack: ExitStack, model: Model, blob: Callable[[web.Request], object]) -> None:
        async def state(_: web.Request) -> web.Response:
            return web.Response(body=write_state(State(have=below(model.chunks)), chunks=model.chunks))

        app = web.Application()
        app.add_routes([web.get("/exchange/v1/{id}", state), web.get("/v2/warmset/{id}/blobs/{digest}", blob)])
        self.address = free_address()
        stack.enter_context(Serving(app, address=self.address))
