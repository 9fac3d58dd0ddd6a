"""`warmset agent`: the node agent, in a cluster or stand-alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from cli.logs import log_json
from daemonset.agent import run
from daemonset.config import load

_PATH = click.Path(path_type=Path)


@click.command("agent")
@click.option("--config", type=_PATH, help="YAML file; the options below win over it.")
@click.option("--root", type=_PATH, help="Folder of the cache.")
@click.option("--node", help="This node's name (default: the host's).")
@click.option("--listen", metavar="HOST:PORT", help="Health, readiness and metrics.")
@click.option("--socket", type=_PATH, help="Unix socket for the CSI driver and local commands.")
@click.option("--broker-url", metavar="URL", help="In a cluster: the controller's broker, https://host:port.")
@click.option("--broker-ca-file", type=_PATH, help="In a cluster: authorities that may sign the broker's certificate.")
@click.option("--broker-token-file", type=_PATH, help="In a cluster: bound service-account token for the broker.")
@click.option("--kubeconfig", type=_PATH, help="In a cluster: instead of the pod's service account.")
@click.option("--advertise", metavar="HOST:PORT", help="In a cluster: address at which other nodes reach this agent.")
@click.option("--verbose", is_flag=True, help="Log more.")
def command(*, config: Path | None, verbose: bool, **options: Any) -> None:
    """Run the node agent.

    \b
    Stand-alone:   warmset agent --config agent.yaml          (models listed in the file)
    In a cluster:  warmset agent --config agent.yaml --node NAME   (a `cluster` section or the --broker options)

    Logs are JSON lines on stderr. Ends on SIGTERM within seconds; unfinished pulls go on at the next start.
    """
    loaded = load(config, options=_nested(options), environ=os.environ)
    log_json(verbose=verbose)
    asyncio.run(run(loaded))


def _nested(options: dict[str, Any]) -> dict[str, Any]:
    """The options in the shape of the file."""
    given = {name: value for name, value in options.items() if value is not None}
    broker = {name.removeprefix("broker_"): given.pop(name) for name in list(given) if name.startswith("broker_")}
    cluster: dict[str, Any] = {name: given.pop(name) for name in ("kubeconfig", "advertise") if name in given}
    if broker:
        cluster["broker"] = broker
    return given | ({"cluster": cluster} if cluster else {})
