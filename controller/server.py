"""The controller's two listeners: HTTPS for the webhook and the broker, plain HTTP for probes and metrics."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from api.broker import CohortRequest, GrantRequest
from api.errors import Forbidden, InvalidRequest, NotFound, Unauthorized, WarmsetError
from api.node import NodeError
from controller.admission.webhook import Webhook
from controller.broker.grants import Broker
from controller.metrics import Metrics
from kube.client import ApiError

MOST_BYTES = 8 << 20  # a pod is at most 1.5 MiB in etcd; a review holds it once or twice

MUTATE, INHERIT = "/mutate", "/inherit"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

T = TypeVar("T")

log = structlog.get_logger()


@asynccontextmanager
async def serve_https(
    address: tuple[str, int], *, tls: ssl.SSLContext, webhook: Webhook, broker: Broker, metrics: Metrics
) -> AsyncIterator[tuple[str, int]]:
    """``POST /mutate``, ``/inherit`` and ``/v1/grants``; yields the address it listens on.

    Where ``tls`` asks for client certificates, the first two answer only who shows one.
    """

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        asks_webhook = request.path in (MUTATE, INHERIT)
        certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
        if asks_webhook and tls.verify_mode is not ssl.CERT_NONE and not certificate:
            return _json(NodeError(reason="Unauthorized", message="a client certificate is needed"), status=401)
        return await handler(request)

    async def mutate(request: web.Request) -> web.Response:
        begun = time.monotonic()
        try:
            answer = await webhook.review(await request.read())
        except InvalidRequest as error:
            return _json(NodeError(reason=error.reason, message=error.message), status=400)
        metrics.admissions.observe(time.monotonic() - begun)
        return _json(answer)

    async def inherit(request: web.Request) -> web.Response:
        try:
            return _json(await webhook.inherit(await request.read()))
        except (WarmsetError, ApiError) as error:
            return _failed(error)

    async def grant(request: web.Request) -> web.Response:
        return await for_node(request, GrantRequest, broker.grant)

    async def cohort(request: web.Request) -> web.Response:
        return await for_node(request, CohortRequest, broker.cohort)

    async def for_node(
        request: web.Request, kind: type[T], answer: Callable[[str, T], Awaitable[object]]
    ) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme != "Bearer" or not token:
                raise Unauthorized("a bearer token is needed")
            node = await broker.node_of(token)
        except Unauthorized as error:
            return _json(NodeError(reason=error.reason, message=error.message), status=401)
        except (WarmsetError, ApiError) as error:
            return _failed(error)
        try:
            wanted = msgspec.json.decode(await request.read(), type=kind)
            return _json(await answer(node, wanted))
        except msgspec.DecodeError:
            return _json(NodeError(reason="InvalidRequest", message=f"not a {kind.__name__}"), status=400)
        except (WarmsetError, ApiError) as error:
            return _failed(error)

    app = web.Application(client_max_size=MOST_BYTES, middlewares=[admit])
    app.add_routes([web.post(MUTATE, mutate), web.post(INHERIT, inherit), web.post("/v1/grants", grant)])
    app.router.add_post("/v1/cohorts", cohort)
    async with _listen(app, address, tls=tls) as bound:
        yield bound


@asynccontextmanager
async def serve_http(
    address: tuple[str, int], *, ready: Callable[[], str], registry: CollectorRegistry
) -> AsyncIterator[tuple[str, int]]:
    """``/healthz``, ``/readyz`` and ``/metrics``. ``ready`` says what is missing, or ''."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = ready()
        return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)

    async def metrics(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    async with _listen(app, address, tls=None) as bound:
        yield bound


@asynccontextmanager
async def _listen(
    app: web.Application, address: tuple[str, int], *, tls: ssl.SSLContext | None
) -> AsyncIterator[tuple[str, int]]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, *address, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield host, port
    finally:
        await runner.cleanup()


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _failed(error: WarmsetError | ApiError) -> web.Response:
    """401 is kept for the asking node's own token: what a registry refuses is another matter."""
    if isinstance(error, ApiError):
        # The API server's words may name objects that the asking node has no business with.
        log.warning("grant.failed", error=str(error))
        return _json(NodeError(reason="ClusterUnavailable", message="the API server refused"), status=503)
    status = 503 if error.retryable else 422
    if isinstance(error, Forbidden):
        status = 403
    elif isinstance(error, NotFound):
        status = 404
    return _json(NodeError(reason=error.reason, message=error.message, hint=error.hint), status=status)
