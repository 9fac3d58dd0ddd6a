"""``warmset status``: what is warm, and where."""

from __future__ import annotations

import click
import msgspec

from api.resources import WarmSet
from cli.cluster import Target, age, cluster_options, connected, run, show_table, state
from cli.cluster import warm_set as read_warm_set
from cli.local import output_option, show_json, size_text
from controller.resources import WARM_SET


@click.command()
@click.argument("name", required=False)
@click.option("-A", "--all-namespaces", is_flag=True, help="WarmSets of all namespaces.")
@cluster_options
@output_option
def command(name: str | None, all_namespaces: bool, target: Target, output: str) -> None:
    """Show WarmSets with their groups and nodes: state, bytes, and the reason where something is in the way.

    \b
    warmset status
    warmset status llama -n team-a -o json
    """
    found = run(_read(target, name, all_namespaces=all_namespaces))
    if output == "json":
        show_json([msgspec.to_builtins(warm_set) for warm_set in found])
        return
    if not found:
        where = "the cluster" if all_namespaces else f"namespace {target.namespace}"
        click.echo(f"there are no WarmSets in {where}; `warmset warm MODEL` makes one", err=True)
        return
    _show(found, with_namespace=all_namespaces)


async def _read(target: Target, name: str | None, *, all_namespaces: bool) -> list[WarmSet]:
    async with connected(target) as client:
        if name is not None:
            return [await read_warm_set(client, name, namespace=target.namespace)]
        found = await client.list(WARM_SET, namespace=None if all_namespaces else target.namespace)
        parsed = [msgspec.convert(obj, type=WarmSet) for obj in found]
        return sorted(parsed, key=lambda w: (w.metadata.namespace, w.metadata.name))


def _show(found: list[WarmSet], *, with_namespace: bool) -> None:
    rows = [("WARMSET", "MODELS", "GROUPS", "NODES", "SIZE", "WARM", "ETA", "AGE")]
    for warm_set in found:
        status = warm_set.status
        warm = state(status.conditions, "Warm")
        prefix = f"{warm_set.metadata.namespace}/" if with_namespace else ""
        rows.append(
            (
                prefix + warm_set.metadata.name,
                ",".join(warm_set.spec.models),
                f"{status.groups_ready}/{status.groups_desired}",
                f"{status.nodes_ready}/{status.nodes_desired}",
                size_text(status.bytes) if status.bytes else "-",
                (warm.status if warm.status == "True" else f"{warm.status} ({warm.reason})") if warm else "Unknown",
                status.eta or "-",
                age(warm_set.metadata.creation_timestamp),
            )
        )
    show_table(rows)
    for warm_set in found:
        _show_nodes(warm_set)
        for kind in ("Planned", "Degraded"):
            condition = state(warm_set.status.conditions, kind)
            if condition is not None and condition.status != ("True" if kind == "Planned" else "False"):
                click.echo(f"{warm_set.metadata.name}: {condition.reason}: {condition.message}")


def _show_nodes(warm_set: WarmSet) -> None:
    rows = [("GROUP", "DOMAIN", "NODE", "STATE", "BYTES", "REASON")]
    for group in warm_set.status.groups:
        for node in group.nodes:
            share = f"{size_text(node.bytes_done)} of {size_text(node.bytes_total)}"
            rows.append((group.name, group.domain or "-", node.name, node.state, share, node.reason or "-"))
    if len(rows) > 1:
        click.echo(f"\n{warm_set.metadata.name}")
        show_table(rows, indent="  ")
    if warm_set.status.groups_left_out:
        click.echo(f"  and {warm_set.status.groups_left_out} groups more")
