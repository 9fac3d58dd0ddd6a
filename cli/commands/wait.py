"""``warmset wait``: until a WarmSet is warm, or a group of stand-alone agents."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from cli.cluster import Target, cluster_options, connected, run
from cli.completion import WARM_SETS
from cli.waiting import until


@click.command()
@click.argument("name", metavar="[WARMSET]", required=False, type=WARM_SETS)
@click.option(
    "--group",
    "config",
    metavar="AGENT.YAML",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Instead of a WarmSet: the group of stand-alone agents that this machine's agent is in, by its configuration.",
)
@click.option("--timeout", default="30m", show_default=True, help="Such as 90s, 30m or 1h30m.")
@cluster_options
def command(name: str | None, config: Path | None, timeout: str, target: Target) -> None:
    """Wait until every group of WARMSET is warm, or every member of a stand-alone group.

    Exit codes: 0 warm, 3 no such WarmSet or model, 10 not warm in time; others as for every command.
    """
    if (name is None) is (config is None):
        raise click.UsageError("name either a WARMSET or --group AGENT.YAML")
    run(_wait(name, within=timeout, target=target) if config is None else _wait_for_group(config, within=timeout))


async def _wait(name: str | None, *, within: str, target: Target) -> None:
    async with connected(target) as client:
        await until(client, name or "", namespace=target.namespace, within=within)


async def _wait_for_group(config: Path, *, within: str) -> None:
    from cli.group import until_warm  # the exchange's libraries, which a cluster's command does without
    from controller.objects.durations import seconds
    from daemonset.config import load

    loaded = await asyncio.to_thread(load, config, options={}, environ=os.environ)
    await until_warm(loaded, within_s=seconds(within), say=lambda words: click.echo(words, err=True))
