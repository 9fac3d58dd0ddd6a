"""What `warmset plan` and `warmset warm --dry-run` show: the plan of a WarmSet, worked out here, nothing changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from api.errors import InvalidRequest, NoDomainFits, NotFound
from api.resources import Model, WarmSet
from cli.amounts import Rate
from cli.cluster import find
from cli.local import size_text
from cli.output import Form, Row, table
from cli.output import show as show_data
from controller.objects.resources import MODEL, NODE_CACHE
from kube.client import Client, Object
from kube.resources import NODE

if TYPE_CHECKING:  # only who plans must pay for the planner
    from controller.cluster.preview import GroupPreview, Preview
    from controller.node_caches.eviction import Room

_F = TypeVar("_F", bound=Callable[..., Any])


def rate_option(function: _F) -> _F:
    """Adds --rate, by which a plan's time is estimated: what a node will really get nobody knows beforehand."""
    return click.option(
        "--rate", type=Rate(), default="500MB", show_default=True, help="Bytes a second of a node, for the time."
    )(function)


async def look(client: Client, warm_set: WarmSet, *, levels: tuple[str, ...]) -> Preview:
    """Raises NotFound where a Model is missing, InvalidRequest where its revision is not known yet."""
    from controller.cluster.levels import discover, expand
    from controller.cluster.preview import preview, world_of
    from controller.models import permitted

    models = await _models(client, warm_set)
    wanted, problem = permitted.of_warm_set(warm_set, models)
    if problem is not None:
        kind = NotFound if problem.reason == "ModelNotFound" else InvalidRequest
        raise kind(f"{problem.reason}: {problem.message}", hint="warmset explain shows what is known of it")
    nodes, caches = await asyncio.gather(client.list(NODE), client.list(NODE_CACHE))
    known = expand(levels) or await discover(client)
    return preview(warm_set, world_of(nodes, caches=caches), wanted, levels=known)


async def _models(client: Client, warm_set: WarmSet) -> dict[str, Model]:
    """Those that the WarmSet names, one by one: its owner need not have the right to list all."""
    found = {}
    for name in warm_set.spec.models:
        where, slash, short = name.rpartition("/")
        namespace = where if slash else warm_set.metadata.namespace
        model = await find(client, MODEL, short, namespace=namespace)
        if model is not None:
            found[f"{namespace}/{short}"] = msgspec.convert(model, type=Model)
    return found


def report(found: Preview, *, form: Form, rate_bps: int) -> None:
    """Print it. Raises NoDomainFits, afterwards, where a group has no nodes: scripts ask for the exit code."""
    show_data(_as_data(found, rate_bps=rate_bps), _lines(found, rate_bps=rate_bps), form=form)
    short = [str(number) for number, group in enumerate(found.groups) if not group.plan.fits or not group.nodes]
    if short:
        raise NoDomainFits(
            f"no nodes for {len(short)} of {len(found.groups)} groups",
            hint="why, node by node, is above; docs/reasons.md explains each reason",
        )


def _as_data(found: Preview, *, rate_bps: int) -> Object:
    return {
        "groups": [_group_data(group, rate_bps=rate_bps) for group in found.groups],
        "rejectedNodes": [{"name": r.node, "reason": r.reason, "message": r.message} for r in found.rejected],
        "rejectedDomains": [
            {"level": d.level, "domain": d.domain, "usableNodes": d.usable_nodes, "nodesMissing": d.left_over}
            for d in found.domains
        ],
    }


def _lines(found: Preview, *, rate_bps: int) -> list[str]:
    lines = []
    for number, group in enumerate(found.groups):
        lines.append(f"group {number}: {_where(group, rate_bps=rate_bps)}")
        rows: list[Row] = [("NODE", "PRESENT", "TO PULL", "TO EVICT", "")]
        spares = frozenset(group.plan.spares)
        for node in group.nodes:
            role = "spare" if node.node in spares else ""
            present, missing = size_text(node.bytes_done), size_text(node.missing_bytes)
            rows.append((node.node, present, missing, _room(group.rooms[node.node]), role))
        lines += table(rows, indent="  ")
    domains: list[Row] = [("LEVEL", "DOMAIN", "USABLE", "MISSING")]
    domains += [(d.level, d.domain, str(d.usable_nodes), str(d.left_over)) for d in found.domains]
    if found.domains:
        lines += ["domains that cannot hold a group:", *table(domains, indent="  ")]
    rejected: list[Row] = [("NODE", "REASON", "MESSAGE"), *((r.node, r.reason, r.message) for r in found.rejected)]
    if found.rejected:
        lines += ["nodes that cannot be used:", *table(rejected, indent="  ")]
    return lines


def _where(group: GroupPreview, *, rate_bps: int) -> str:
    plan = group.plan
    if not plan.fits or not group.nodes:
        return f"{plan.reason}: {plan.why}" if plan.reason else "no such nodes"
    place = f" in {plan.level}={plan.domain}" if plan.level else ""
    missing = size_text(sum(node.missing_bytes for node in group.nodes))
    seconds = _seconds(group, rate_bps=rate_bps)
    time = f", about {duration_text(seconds)} at {size_text(rate_bps)}/s a node" if seconds else ""
    return f"{len(plan.all_nodes)} nodes{place}, {missing} to pull{time}"


def _room(room: Room) -> str:
    if room.missing_bytes:
        return f"{size_text(room.missing_bytes)} too little"
    return f"{size_text(room.evict_bytes)} of {len(room.evicted)} models" if room.evicted else "-"


def _seconds(group: GroupPreview, *, rate_bps: int) -> int:
    """Until the slowest node of the group has all; they share what they pull, so each takes it once."""
    return -(-max((node.missing_bytes for node in group.nodes), default=0) // rate_bps)


def duration_text(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return (
        f"{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
    )


def _group_data(group: GroupPreview, *, rate_bps: int) -> Object:
    plan = group.plan
    spares = frozenset(plan.spares)
    return {
        "reason": plan.reason or "Planned",
        "level": plan.level,
        "domain": plan.domain,
        "seconds": _seconds(group, rate_bps=rate_bps),
        "nodes": [
            {
                "name": node.node,
                "spare": node.node in spares,
                "bytesPresent": node.bytes_done,
                "bytesMissing": node.missing_bytes,
                "bytesToEvict": group.rooms[node.node].evict_bytes,
                "bytesWithoutRoom": group.rooms[node.node].missing_bytes,
            }
            for node in group.nodes
        ],
    }
