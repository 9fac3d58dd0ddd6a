"""`warmset node`: what the agent on this machine holds, asked over its socket."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from api.node import AgentStatus
from api.resources import NodeModelStatus
from cli.agent import ask, socket_option
from cli.local import output_option, size_text


@click.command("node")
@socket_option(default=Path("/run/warmset/agent.sock"), help="The agent's unix socket.")
@output_option
def command(*, socket: Path, output: str) -> None:
    """Show what the agent on this machine holds.

    Models of a stand-alone agent have their names; a node of a cluster knows them by a hash alone.
    """
    status = ask(socket, "status", AgentStatus)
    if output == "json":
        click.echo(msgspec.json.encode(status))
    else:
        _show(status)


def _show(status: AgentStatus) -> None:
    click.echo(f"{status.node}: agent {status.version}, cache {size_text(status.used)} of {size_text(status.capacity)}")
    if status.paused:
        click.echo("paused: no pulls, no evictions")
    for model in status.models:
        click.echo(_line(model, name=status.names.get(model.model, model.model)))
    for publication in status.publications:
        click.echo(f"mounted: {publication.model} by pod {publication.pod_uid}")


def _line(model: NodeModelStatus, *, name: str) -> str:
    why = f"  {model.reason}: {model.message}" if model.reason else ""
    why += f"  bytes had rotted, found {model.corrupted_at}" if model.corrupted_at else ""
    return f"{name}  {model.state:8}  {size_text(model.bytes_done)} of {size_text(model.bytes_total)}{why}"
