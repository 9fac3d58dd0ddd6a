"""`warmset controller`: groups, plan, gates, webhook and broker of a cluster."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import sys
from pathlib import Path

import click

from api.errors import ClusterUnavailable
from cli.logs import log_json
from controller import config as configuration
from controller.config import Config
from controller.manager import LeadershipLost, run
from kube.client import ApiError, Client


@click.command("controller")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="YAML file; see docs/install.md.")
@click.option("--namespace", default="", help="Where its Lease and certificate live [default: the service account's].")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Instead of the pod's own service account.")
@click.option(
    "--identity", envvar="POD_NAME", default="", help="Name of this replica in the Lease [default: the host's]."
)
@click.option("--verbose", is_flag=True, help="Log at debug level.")
def command(config_path: Path | None, namespace: str, kubeconfig: Path | None, identity: str, verbose: bool) -> None:
    """Run the controller."""
    log_json(verbose=verbose)
    config = configuration.load(config_path, namespace=namespace)
    identity = f"{identity or socket.gethostname()}-{secrets.token_hex(3)}"  # a restarted pod keeps its name
    try:
        asyncio.run(_run(config, kubeconfig=kubeconfig, identity=identity))
    except ApiError as error:
        raise ClusterUnavailable(f"the API server refuses: {error}", hint="check the controller's rights") from error
    except BaseExceptionGroup as group:
        if group.subgroup(LeadershipLost) is None:
            raise
        sys.exit(1)  # logged where it was noticed; the pod starts anew and stands by


async def _run(config: Config, *, kubeconfig: Path | None, identity: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await Client.connect(kubeconfig=kubeconfig) as client:
        await run(client, config, identity=identity, stop=stop)
