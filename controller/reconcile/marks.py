"""A Node object itself: annotations that keep autoscalers off while a plan holds it, and its startup taint."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime

import structlog

from api.resources import NodeCache, NodeCacheSpec
from controller.cluster.flavors import is_of_any
from controller.node_caches.node_marks import may_take_pods, protection, untaint
from controller.node_caches.warmth import has_agent
from controller.objects.nodes import NodeView
from controller.reconcile.context import Context
from kube.client import ApiError
from kube.resources import NODE

LOOK_S = 30.0  # at a node that still has the taint

log = structlog.get_logger()


async def mark(context: Context, view: NodeView, spec: NodeCacheSpec) -> float | None:
    """Returns the seconds after which to look again. Raises ApiError or ClusterUnavailable."""
    if context.config.protect_planned_nodes:
        await _protect(context, view)
    return await _admit_pods(context, view, spec)


async def _protect(context: Context, view: NodeView) -> None:
    changes = protection(view, held=bool(context.roster.groups_on(view.name)))
    if changes:
        body = {"metadata": {"uid": view.uid, "annotations": changes}}
        await _tolerant(view, context.client.patch(NODE, view.name, body))


async def _admit_pods(context: Context, view: NodeView, spec: NodeCacheSpec) -> float | None:
    key = context.config.startup_taint
    if not key or not any(taint.key == key for taint in view.taints):
        return None
    if is_of_any(view.labels, context.world.flavors):
        await _warn(context, view, key)
        await _untaint(context, view, key, why="kueue")
        return None
    cache = context.world.caches.get(view.name)
    ready = has_agent(cache, view) and cache is not None and _holds(cache, spec)
    if not may_take_pods(view, ready=ready, most_s=context.config.max_hold_s, now=datetime.now(UTC)):
        return LOOK_S
    await _untaint(context, view, key, why="warm" if ready else "time")
    return None


async def _warn(context: Context, view: NodeView, key: str) -> None:
    await context.events.say(
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": view.name, "uid": view.uid}},
        reason="TaintOnKueueNode",
        message=f"{key} is removed before the node is warm: where Kueue places by topology, a taint is a failure",
        action="Untaint",
        kind="Warning",
    )


async def _untaint(context: Context, view: NodeView, key: str, *, why: str) -> None:
    node = await context.client.get(NODE, view.name)
    patch = untaint(node["spec"].get("taints") or [], key)
    if patch:
        await _tolerant(view, context.client.patch(NODE, view.name, patch, kind="json"))
        log.info("node.untainted", node=view.name, why=why)


def _holds(cache: NodeCache, spec: NodeCacheSpec) -> bool:
    """Whether all that is wanted is there, or cannot come: a model that fails must not keep the node from its pods."""
    settled = {(said.model, said.revision) for said in cache.status.models if said.state in ("Ready", "Failed")}
    return all((entry.model, entry.revision) in settled for entry in spec.models if entry.desired == "Present")


async def _tolerant(view: NodeView, write: Awaitable[object]) -> None:
    """A node that is gone, or that we may not write, stays as it is: none of this is needed for weights to come."""
    try:
        await write
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        log.warning("node.not_marked", node=view.name, error=str(error))
