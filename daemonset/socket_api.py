"""The agent's API on its unix socket (api/node.py): HTTP in and out, decisions elsewhere."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web

from api.errors import (
    AlreadyPublished,
    DiskError,
    Forbidden,
    InsufficientCache,
    InUse,
    InvalidRequest,
    NotFound,
    Pulling,
    Unauthorized,
    WarmsetError,
)
from api.node import AgentStatus, LiveSet, NodeError, PublishRequest, VerifyReport
from daemonset.publishing.publications import Publications

MODE = 0o660  # root and the agent's group
BACKLOG = 512  # pods of a node that start at the same moment
MAX_BODY_BYTES = 1 << 20  # a live set of thousands of ids

_STATUS: dict[type[WarmsetError], int] = {
    InvalidRequest: 400,
    Unauthorized: 403,
    Forbidden: 403,
    NotFound: 404,
    Pulling: 409,
    InUse: 409,
    AlreadyPublished: 409,
    InsufficientCache: 507,
    DiskError: 507,
}

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
StatusOf = Callable[[], Awaitable[AgentStatus]]
Verify = Callable[[str], Awaitable[VerifyReport]]

log = structlog.get_logger()


def application(publications: Publications, *, status: StatusOf, verify: Verify) -> web.Application:
    """The routes. ``status`` and ``verify`` make the answers of GET /v1/status and POST /v1/verify."""

    async def publish(request: web.Request) -> web.Response:
        return _json(await publications.publish(await _body(request, PublishRequest)))

    async def unpublish(request: web.Request) -> web.Response:
        at = request.query.get("at", "0")
        if not at.isdecimal():
            raise InvalidRequest("at is when the call was made, in nanoseconds")
        await publications.unpublish(request.match_info["id"], at=int(at))
        return web.Response(status=204)

    async def listing(_: web.Request) -> web.Response:
        return _json(await publications.all())

    async def live(request: web.Request) -> web.Response:
        await publications.settle(await _body(request, LiveSet))
        return web.Response(status=204)

    async def agent_status(_: web.Request) -> web.Response:
        return _json(await status())

    async def verification(request: web.Request) -> web.Response:
        return _json(await verify(request.query.get("target", "")))

    app = web.Application(middlewares=[errors_as_json], client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.post("/v1/publications", publish),
            web.delete("/v1/publications/{id}", unpublish),
            web.get("/v1/publications", listing),
            web.put("/v1/live", live),
            web.get("/v1/status", agent_status),
            web.post("/v1/verify", verification),
        ]
    )
    return app


def listen(path: Path) -> socket.socket:
    """A listening unix socket that has its mode from the first moment.

    A stale socket of an earlier process is replaced (the store's lock made sure that there is no other agent);
    any other file is left alone. Raises InvalidRequest.
    """
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o777 & ~MODE)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise InvalidRequest(f"cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(mask)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure is a NodeError, a defect of ours too, which is logged and not shown."""
    try:
        return await handler(request)
    except WarmsetError as error:
        return _json(NodeError(reason=error.reason, message=error.message, hint=error.hint), status=_http(error))
    except web.HTTPException as error:
        return _json(NodeError(reason="InvalidRequest", message=error.reason), status=error.status)
    except Exception:
        log.exception("request.defect", method=request.method, path=request.path)
        return _json(NodeError(reason="WarmsetError", message="a defect of the agent; see its log"), status=500)


def _http(error: WarmsetError) -> int:
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return status
    return 503 if error.retryable else 500


async def _body(request: web.Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{kind.__name__}: {error}") from error


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
