"""``warmset nodes``: what each node of the cluster holds."""

from __future__ import annotations

from collections import Counter

import click
import msgspec

from api.errors import NotFound
from api.resources import NodeCache
from cli.cluster import Target, age, cluster_options, connected, run
from cli.completion import NODES
from cli.live import watch
from cli.local import size_text
from cli.output import Form, Row, form_option, show, table
from controller.objects.resources import NODE_CACHE
from kube.client import Client


@click.command()
@click.argument("names", nargs=-1, metavar="[NODE]...", type=NODES)
@click.option("-w", "--watch", "watching", is_flag=True, help="Go on showing it as it changes.")
@cluster_options
@form_option(wide=True)
def command(names: tuple[str, ...], watching: bool, target: Target, output: Form) -> None:
    """Show what nodes hold: models warm of those wanted, bytes, and whether the agent reports.

    \b
    warmset nodes --watch
    warmset nodes gpu-1 gpu-2 -o wide
    """
    if watching and output in ("json", "yaml"):
        raise click.UsageError(f"--watch shows a table, not {output}")
    run(_nodes(names, target, watching=watching, form=output))


async def _nodes(names: tuple[str, ...], target: Target, *, watching: bool, form: Form) -> None:
    async with connected(target) as client:

        async def look() -> list[str]:
            return _lines(await _read(client, names), wide=form == "wide")

        if watching:
            await watch(look)
        found = await _read(client, names)
    show([msgspec.to_builtins(cache) for cache in found], _lines(found, wide=form == "wide"), form=form)


async def _read(client: Client, names: tuple[str, ...]) -> list[NodeCache]:
    """By name, those asked for. Raises NotFound."""
    caches = [msgspec.convert(obj, type=NodeCache) for obj in await client.list(NODE_CACHE)]
    known = {cache.metadata.name: cache for cache in caches}
    for name in names:
        if name not in known:
            raise NotFound(f"there is no NodeCache {name!r}", hint="warmset nodes shows those that there are")
    return [known[name] for name in (dict.fromkeys(names) if names else sorted(known))]


def _lines(found: list[NodeCache], *, wide: bool) -> list[str]:
    more = ("ADDRESS", "CACHE") if wide else ()
    rows: list[Row] = [("NODE", "READY", "PULLING", "FAILED", "USED", "CAPACITY", "AGENT", "SAID", *more)]
    return table(rows + [_row(cache, wide=wide) for cache in found])


def _row(cache: NodeCache, *, wide: bool) -> Row:
    status = cache.status
    wanted = {(entry.model, entry.revision) for entry in cache.spec.models if entry.desired == "Present"}
    states = Counter(said.state for said in status.models if (said.model, said.revision) in wanted)
    return (
        cache.metadata.name,
        f"{states['Ready']}/{len(wanted)}",
        str(states["Pulling"]),
        str(states["Failed"]),
        size_text(status.used),
        size_text(status.capacity),
        status.agent.version or "-",
        age(status.last_update),
        *((status.agent.address or "-", status.cache_id or "-") if wide else ()),
    )
