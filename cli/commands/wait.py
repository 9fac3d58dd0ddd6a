"""``warmset wait``: until a WarmSet is warm."""

from __future__ import annotations

import click

from cli.cluster import Target, cluster_options, connected, run
from cli.completion import WARM_SETS
from cli.waiting import until


@click.command()
@click.argument("name", metavar="WARMSET", type=WARM_SETS)
@click.option("--timeout", default="30m", show_default=True, help="Such as 90s, 30m or 1h30m.")
@cluster_options
def command(name: str, timeout: str, target: Target) -> None:
    """Wait until every group of WARMSET is warm.

    Exit codes: 0 warm, 3 no such WarmSet, 10 not warm in time; others as for every command.
    """
    run(_wait(name, within=timeout, target=target))


async def _wait(name: str, *, within: str, target: Target) -> None:
    async with connected(target) as client:
        await until(client, name, namespace=target.namespace, within=within)
