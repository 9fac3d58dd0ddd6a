"""The agent's TCP listener: liveness, readiness, metrics, and its status where it is stand-alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.node import AgentStatus
from daemonset.metrics import Metrics


def application(
    *,
    metrics: Metrics,
    not_ready: Callable[[], str],
    status: Callable[[], Awaitable[AgentStatus]] | None,
) -> web.Application:
    """``not_ready`` returns why the agent is not ready, or nothing. ``status`` only where model names may be seen."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = not_ready()
        return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    if status is not None:
        make = status

        async def agent_status(_: web.Request) -> web.Response:
            return web.Response(body=msgspec.json.encode(await make()), content_type="application/json")

        app.router.add_get("/v1/status", agent_status)
    return app
