"""What `warmset plan` and `warmset warm --dry-run` show: the plan of a WarmSet, worked out here, nothing changed."""

from __future__ import annotations

import asyncio

import click
import msgspec

from api.errors import InvalidRequest, NotFound
from api.resources import Model, WarmSet
from cli.cluster import show_table
from cli.local import size_text
from controller import wants
from controller.preview import GroupPreview, Preview, preview, world_of
from controller.resources import MODEL, NODE_CACHE
from kube.client import ApiError, Client, Object
from kube.resources import NODE


async def look(client: Client, warm_set: WarmSet, *, levels: tuple[str, ...]) -> Preview:
    """Raises NotFound where a Model is missing, InvalidRequest where its revision is not known yet."""
    models = await _models(client, warm_set)
    wanted, problem = wants.of_warm_set(warm_set, models)
    if problem is not None:
        kind = NotFound if problem.reason == "ModelNotFound" else InvalidRequest
        raise kind(f"{problem.reason}: {problem.message}", hint="warmset explain shows what is known of it")
    nodes, caches = await asyncio.gather(client.list(NODE), client.list(NODE_CACHE))
    return preview(warm_set, world_of(nodes, caches=caches), wanted, levels=levels)


async def _models(client: Client, warm_set: WarmSet) -> dict[str, Model]:
    """Those that the WarmSet names, one by one: its owner need not have the right to list all."""
    found = {}
    for name in warm_set.spec.models:
        where, slash, short = name.rpartition("/")
        namespace = where if slash else warm_set.metadata.namespace
        try:
            model = await client.get(MODEL, short, namespace=namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            continue
        found[f"{namespace}/{short}"] = msgspec.convert(model, type=Model)
    return found


def as_json(found: Preview) -> Object:
    return {
        "groups": [_group_json(group) for group in found.groups],
        "rejectedNodes": [{"name": r.node, "reason": r.reason, "message": r.message} for r in found.rejected],
        "rejectedDomains": [
            {"level": d.level, "domain": d.domain, "usableNodes": d.usable_nodes, "nodesMissing": d.left_over}
            for d in found.domains
        ],
    }


def show(found: Preview) -> None:
    for number, group in enumerate(found.groups):
        click.echo(f"group {number}: {_where(group)}")
        if group.nodes:
            rows = [("NODE", "PRESENT", "TO PULL", "")]
            spares = frozenset(group.plan.spares)
            for node in group.nodes:
                role = "spare" if node.node in spares else ""
                rows.append((node.node, size_text(node.bytes_done), size_text(node.missing_bytes), role))
            show_table(rows, indent="  ")
    if found.domains:
        click.echo("domains that cannot hold a group:")
        rows = [("LEVEL", "DOMAIN", "USABLE", "MISSING")]
        rows += [(d.level, d.domain, str(d.usable_nodes), str(d.left_over)) for d in found.domains]
        show_table([row[:4] for row in rows], indent="  ")
    if found.rejected:
        click.echo("nodes that cannot be used:")
        reasons = [("NODE", "REASON", "MESSAGE"), *((r.node, r.reason, r.message) for r in found.rejected)]
        show_table(reasons, indent="  ")


def _where(group: GroupPreview) -> str:
    plan = group.plan
    if not plan.fits:
        return plan.reason
    place = f" in {plan.level}={plan.domain}" if plan.level else ""
    return f"{len(plan.all_nodes)} nodes{place}, {size_text(sum(n.missing_bytes for n in group.nodes))} to pull"


def _group_json(group: GroupPreview) -> Object:
    plan = group.plan
    spares = frozenset(plan.spares)
    return {
        "reason": plan.reason or "Planned",
        "level": plan.level,
        "domain": plan.domain,
        "nodes": [
            {
                "name": node.node,
                "spare": node.node in spares,
                "bytesPresent": node.bytes_done,
                "bytesMissing": node.missing_bytes,
            }
            for node in group.nodes
        ],
    }
