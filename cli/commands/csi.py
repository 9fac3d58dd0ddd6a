"""`warmset csi`: the CSI node driver."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from pathlib import Path

import click

from cli.logs import log_json
from csi.config import Config, parse_endpoint
from csi.server import serve


@click.command("csi")
@click.option("--node", required=True, help="This node's name in Kubernetes.")
@click.option(
    "--endpoint",
    envvar="CSI_ENDPOINT",
    default="unix:///csi/csi.sock",
    show_default=True,
    help="Socket on which kubelet and its sidecars call the driver.",
)
@click.option(
    "--agent-socket",
    type=click.Path(path_type=Path),
    default=Path("/run/warmset/agent.sock"),
    show_default=True,
    help="Socket of this node's agent.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/warmset"),
    show_default=True,
    help="Root of the cache, where the agent has it.",
)
@click.option(
    "--kubelet-root",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/kubelet"),
    show_default=True,
    help="kubelet's own --root-dir.",
)
@click.option(
    "--require-readonly/--no-require-readonly",
    default=True,
    show_default=True,
    help="Refuse volumes that are not readOnly. Off is for conformance tools; every mount is read-only anyway.",
)
@click.option("--verbose", is_flag=True, help="Log probes and reports too.")
def command(
    *,
    node: str,
    endpoint: str,
    agent_socket: Path,
    root: Path,
    kubelet_root: Path,
    require_readonly: bool,
    verbose: bool,
) -> None:
    """Run the CSI node driver.

    Needs root and, in a container, <kubelet-root>/pods mounted Bidirectional. Logs are JSON lines on stderr. Ends on
    SIGTERM and leaves every mount as it is.
    """
    config = Config(
        endpoint=parse_endpoint(endpoint),
        agent_socket=agent_socket,
        cache_root=root,
        kubelet_dir=kubelet_root,
        node_name=node,
        version=version("warmset"),
        require_readonly=require_readonly,
    )
    log_json(verbose=verbose)
    asyncio.run(serve(config))
