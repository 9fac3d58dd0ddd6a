"""What an agent serves to its peers: the read side of the OCI distribution API, over what it holds and what it fetches.

    GET /v2/                                           -> {}
    GET /v2/warmset/<exchange>/manifests/<tree>        -> a manifest of the tree's files, made here
    GET /v2/warmset/<exchange>/manifests/<revision>    -> the source's own manifest, where that digest is of it
    GET /v2/warmset/<exchange>/blobs/<digest>  Range   -> the bytes; of a file under way to who asks by Warmset-Hold
    GET /exchange/v1/<exchange>?members=<n>            -> StateMessage
    GET /exchange/v1/<entry>/revision                  -> what the group pulls (daemonset/sharing/agreement.py)

Everything else is 404, whether it exists or not: a name is served only within the exchange that it was got through,
and only to who may read that exchange.
Nothing is ever fetched because a peer asks for it, but the chunks of an exchange that this node takes part in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from api.digest import Digest
from api.errors import InvalidArtifact, NotFound, WarmsetError
from api.tree import Tree
from cache.exchange.answer import Answer
from cache.exchange.authority.admission import Admission
from cache.exchange.authority.tls import peer_key
from cache.exchange.group import Exchanges, Running
from cache.exchange.peer import HOLD_HEADER, write_state
from cache.exchange.view import State
from cache.store import Store
from daemonset.sharing.sending import sending
from daemonset.sharing.turnstile import Turnstile, Uplink

HOLD_S = 5.0  # how long a request is held at most; the peer asks again, before it takes us for stalled
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})")
_COUNT = re.compile(r"[1-9][0-9]?")  # of a cohort's members
_ID = "{exchange:[0-9a-f]{64}}"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = b"{}"  # OCI image spec 1.1, "Guidance for an Empty Descriptor"

log = structlog.get_logger()


def application(
    exchanges: Exchanges,
    *,
    store: Store,
    admission: Admission | None,
    turnstile: Turnstile,
    uplink: Uplink | None = None,
    revision: Callable[[str], Awaitable[str]] | None = None,
) -> web.Application:
    """To be served with ``PeerTls.server``; where ``admission`` is None to whoever asks, without TLS.

    Of what several event loops serve at the same time each needs its own; the parameters may be shared.
    ``revision`` tells the group's revision of an entry, or raises WarmsetError.
    """
    served = _Served(exchanges, store, turnstile, uplink)
    middlewares = [_limited(turnstile)] + ([] if admission is None else [_admitted(admission)])
    app = web.Application(middlewares=middlewares)
    app.add_routes(
        [
            web.get("/v2/", served.version),
            web.get(f"/v2/warmset/{_ID}/manifests/{{name}}", served.manifest),
            web.get(f"/v2/warmset/{_ID}/blobs/{{digest}}", served.blob),
            web.get(f"/exchange/v1/{_ID}", served.state),
        ]
    )
    if revision is not None:
        say = revision

        async def tell(request: web.Request) -> web.Response:
            try:
                return web.json_response({"revision": await say(request.match_info["exchange"])})
            except NotFound:
                return _unknown()
            except WarmsetError as error:
                log.warning("group.undecided", why=str(error))
                return web.Response(status=503, text=error.reason)

        app.router.add_get(f"/exchange/v1/{_ID}/revision", tell)  # an id like an exchange's: admission is asked too
    return app


def manifest_of(tree: Tree) -> bytes:
    """An OCI artifact whose layers are the tree's files, named by their titles as ORAS does; the same on every node."""
    layers = [
        {
            "mediaType": "application/octet-stream",
            "digest": str(file.digest),
            "size": file.size,
            "annotations": {"org.opencontainers.image.title": file.path},
        }
        for file in tree.files
    ]
    empty = {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": _digest_of(_EMPTY),
        "size": len(_EMPTY),
    }
    document = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "artifactType": "application/vnd.warmset.tree.v1",
        "config": empty,
        "layers": layers,
    }
    return json.dumps(document, sort_keys=True).encode()


class _Served:
    def __init__(self, exchanges: Exchanges, store: Store, turnstile: Turnstile, uplink: Uplink | None) -> None:
        self._exchanges = exchanges
        self._store = store
        self._turnstile = turnstile
        self._uplink = uplink

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def state(self, request: web.Request) -> web.Response:
        exchange = request.match_info["exchange"]
        running = self._exchanges.running(exchange)
        if running is not None:
            return _state(running)
        holding = self._exchanges.held(exchange)
        members = _COUNT.fullmatch(request.query.get("members", ""))
        if holding is None or members is None:
            return _unknown()
        self._exchanges.asked(exchange)
        # In a thread: it looks at the disk, which may hang. The chunks are as the asker's cohort counts them.
        chunks, have = await asyncio.to_thread(holding.have, self._store, members=int(members.group()))
        body = write_state(State(have=have), chunks=chunks.chunks)
        return web.Response(body=body, content_type="application/json")

    async def manifest(self, request: web.Request) -> web.Response:
        exchange, name = request.match_info["exchange"], request.match_info["name"]
        said = self._exchanges.manifest(exchange)
        if said and name == _digest_of(said):
            return web.Response(body=said, content_type="application/json", headers={"Docker-Content-Digest": name})
        holding = self._exchanges.held(exchange)
        if holding is None:
            return _unknown()
        body = manifest_of(holding.tree)
        digest = _digest_of(body)
        if name not in (digest, holding.tree.digest.hex):
            return _unknown()
        return web.Response(body=body, content_type=_MANIFEST_TYPE, headers={"Docker-Content-Digest": digest})

    async def blob(self, request: web.Request) -> web.StreamResponse:
        exchange = request.match_info["exchange"]
        try:
            digest = Digest.parse(request.match_info["digest"])
        except InvalidArtifact:
            return _unknown()
        running = self._exchanges.running(exchange)
        if running is not None and digest in running.digests and HOLD_HEADER in request.headers:
            return await self._chunk(request, running, digest)
        holding = self._exchanges.held(exchange)
        if holding is None:
            return _unknown()
        shared = digest in holding.tree.blobs or any(digest == blob.digest for blob in holding.blobs)
        if shared:
            self._exchanges.asked(exchange)
            with suppress(FileNotFoundError):  # an archive's layer does not stay
                opened = self._store.blob_path(digest).open("rb")
                return sending(
                    request, opened, around=lambda: self._turnstile.inside(_client(request)), uplink=self._uplink
                )
        if str(digest) == _digest_of(_EMPTY):
            return web.Response(body=_EMPTY, content_type="application/octet-stream")
        return _unknown()

    async def _chunk(self, request: web.Request, running: Running, digest: Digest) -> web.StreamResponse:
        chunk = _chunk_of(request, running, digest)
        if chunk is None:
            return web.Response(status=416)
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Answer] = loop.create_future()

        def tell(how: Answer) -> None:
            loop.call_soon_threadsafe(lambda: None if told.done() else told.set_result(how))

        found = running.coordinator.ask(chunk, tell)
        if found in (Answer.HOLD, Answer.ADOPT):
            try:
                found = await asyncio.wait_for(told, HOLD_S)
            except TimeoutError:
                return web.Response(status=503, headers={"Retry-After": "0"})
        if found is Answer.REFUSE:
            return _state(running, status=409)
        try:
            opened = running.bytes_of.open(digest)  # not awaited: a cancelled handler would leave it open
        except FileNotFoundError:
            return _unknown()  # the pull was given up at this moment
        return sending(request, opened, around=lambda: self._booked(request, running, chunk), uplink=self._uplink)

    @contextmanager
    def _booked(self, request: web.Request, running: Running, chunk: int) -> Iterator[None]:
        """The exchange knows what is being sent, and what has got out whole."""
        running.coordinator.sending(chunk)
        whole = False
        try:
            with self._turnstile.inside(_client(request)):
                yield
            whole = True
        finally:
            running.coordinator.sent(chunk, whole=whole)


def _client(request: web.Request) -> str:
    return request.remote or ""


def _chunk_of(request: web.Request, running: Running, digest: Digest) -> int | None:
    """The chunk that a Range names; None where it is not within one: only whole chunks are known to be here."""
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None:
        return None
    start, last = int(match.group(1)), int(match.group(2))
    file = running.digests.index(digest)
    chunk = running.chunks.at(file, start)
    if chunk not in running.chunks.of_file(file):
        return None
    place = running.chunks.place(chunk)
    return chunk if place.start <= start <= last < place.stop else None


def _state(running: Running, *, status: int = 200) -> web.Response:
    body = write_state(running.coordinator.state, chunks=running.chunks.chunks)
    return web.Response(body=body, status=status, content_type="application/json")


def _digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _unknown() -> web.Response:
    return web.json_response({"errors": [{"code": "NAME_UNKNOWN", "message": "not served here"}]}, status=404)


def _admitted(admission: Admission) -> Middleware:
    @web.middleware
    async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = request.match_info.get("exchange")
        if exchange is not None:
            secured = request.transport and request.transport.get_extra_info("ssl_object")
            shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not secured or not admission.admits(peer_key(secured), shown, exchange=exchange):
                return _unknown()
        return await handler(request)

    return admitted


def _limited(turnstile: Turnstile) -> Middleware:
    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        client = _client(request)
        if turnstile.full(client):
            return web.Response(status=503, headers={"Retry-After": "1"})
        with turnstile.inside(client):  # sending begins after this, and counts for itself
            return await handler(request)

    return limited
