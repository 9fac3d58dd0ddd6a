"""``warmset status``: what is warm, and where."""

from __future__ import annotations

import click
import msgspec

from api.resources import Placement, WarmSet
from cli.cluster import Target, age, cluster_options, connected, run, state
from cli.cluster import warm_set as read_warm_set
from cli.completion import WARM_SETS
from cli.live import watch
from cli.local import size_text
from cli.output import Form, Row, form_option, show, table
from controller.objects.resources import WARM_SET
from kube.client import Client


@click.command()
@click.argument("name", required=False, type=WARM_SETS)
@click.option("-A", "--all-namespaces", is_flag=True, help="WarmSets of all namespaces.")
@click.option("-w", "--watch", "watching", is_flag=True, help="Go on showing it as it changes.")
@cluster_options
@form_option(wide=True)
def command(name: str | None, all_namespaces: bool, watching: bool, target: Target, output: Form) -> None:
    """Show WarmSets with their groups and nodes: state, bytes, and the reason where something is in the way.

    \b
    warmset status --watch
    warmset status llama -n team-a -o json
    """
    if watching and output in ("json", "yaml"):
        raise click.UsageError(f"--watch shows a table, not {output}")
    run(_status(target, name, all_namespaces=all_namespaces, watching=watching, form=output))


async def _status(target: Target, name: str | None, *, all_namespaces: bool, watching: bool, form: Form) -> None:
    async with connected(target) as client:

        async def look() -> list[str]:
            found = await _read(client, target, name, all_namespaces=all_namespaces)
            return _lines(found, with_namespace=all_namespaces, wide=form == "wide")

        if watching:
            await watch(look)
        found = await _read(client, target, name, all_namespaces=all_namespaces)
    if not found:
        where = "the cluster" if all_namespaces else f"namespace {target.namespace}"
        click.echo(f"there are no WarmSets in {where}; `warmset warm MODEL` makes one", err=True)
    show(
        [msgspec.to_builtins(warm_set) for warm_set in found],
        _lines(found, with_namespace=all_namespaces, wide=form == "wide"),
        form=form,
    )


async def _read(client: Client, target: Target, name: str | None, *, all_namespaces: bool) -> list[WarmSet]:
    if name is not None:
        return [await read_warm_set(client, name, namespace=target.namespace)]
    found = await client.list(WARM_SET, namespace=None if all_namespaces else target.namespace)
    parsed = [msgspec.convert(obj, type=WarmSet) for obj in found]
    return sorted(parsed, key=lambda w: (w.metadata.namespace, w.metadata.name))


def _lines(found: list[WarmSet], *, with_namespace: bool, wide: bool) -> list[str]:
    more = ("PLACEMENT", "PRIORITY", "PINNED") if wide else ()
    rows: list[Row] = [("WARMSET", "MODELS", "GROUPS", "NODES", "SIZE", "WARM", "ETA", "AGE", *more)]
    rows += [_row(warm_set, with_namespace=with_namespace, wide=wide) for warm_set in found]
    lines = table(rows)
    for warm_set in found:
        lines += _nodes(warm_set)
        for kind, expected in (("Planned", "True"), ("Degraded", "False")):
            condition = state(warm_set.status.conditions, kind)
            if condition is not None and condition.status != expected:
                lines.append(f"{warm_set.metadata.name}: {condition.reason}: {condition.message}")
    return lines


def _row(warm_set: WarmSet, *, with_namespace: bool, wide: bool) -> Row:
    status, spec = warm_set.status, warm_set.spec
    warm = state(status.conditions, "Warm")
    prefix = f"{warm_set.metadata.namespace}/" if with_namespace else ""
    pinned = spec.retention is not None and spec.retention.pinned
    more = (_placement(spec.placement), str(spec.priority), "yes" if pinned else "no") if wide else ()
    return (
        prefix + warm_set.metadata.name,
        ",".join(spec.models),
        f"{status.groups_ready}/{status.groups_desired}",
        f"{status.nodes_ready}/{status.nodes_desired}",
        size_text(status.bytes) if status.bytes else "-",
        (warm.status if warm.status == "True" else f"{warm.status} ({warm.reason})") if warm else "Unknown",
        status.eta or "-",
        age(warm_set.metadata.creation_timestamp),
        *more,
    )


def _placement(placement: Placement) -> str:
    if placement.groups is not None:
        return f"{placement.groups.count} groups of {placement.groups.size}"
    if placement.workload is not None:
        return f"{placement.workload.kind}/{placement.workload.name}"
    if placement.nodes is not None:
        return ",".join(placement.nodes)
    return ",".join(f"{key}={value}" for key, value in (placement.node_selector or {}).items()) or "every node"


def _nodes(warm_set: WarmSet) -> list[str]:
    rows: list[Row] = [("GROUP", "DOMAIN", "NODE", "STATE", "BYTES", "REASON")]
    for group in warm_set.status.groups:
        for node in group.nodes:
            share = f"{size_text(node.bytes_done)} of {size_text(node.bytes_total)}"
            rows.append((group.name, group.domain or "-", node.name, node.state, share, node.reason or "-"))
    lines = table(rows, indent="  ")
    if lines:
        lines = ["", warm_set.metadata.name, *lines]
    if warm_set.status.groups_left_out:
        lines.append(f"  and {warm_set.status.groups_left_out} groups more")
    return lines
