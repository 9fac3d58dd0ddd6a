"""`warmset node`: what the agent on this machine holds, asked over its socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import click
import msgspec

from api.errors import AgentUnavailable
from api.node import AgentStatus
from api.resources import NodeModelStatus

TIMEOUT_S = 10.0


@click.command("node")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    default=Path("/run/warmset/agent.sock"),
    show_default=True,
    help="The agent's unix socket.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the result.")
def command(*, socket: Path, output: str) -> None:
    """Show what the agent on this machine holds.

    Models are named by the hash under which the node knows them.
    """
    body = asyncio.run(_ask(socket))
    if output == "json":
        click.echo(body)
        return
    try:
        status = msgspec.json.decode(body, type=AgentStatus)
    except msgspec.DecodeError as error:
        raise AgentUnavailable(f"the agent's answer cannot be read: {error}") from error
    click.echo(f"{status.node}: agent {status.version}, cache {_gib(status.used)} of {_gib(status.capacity)}")
    for model in status.models:
        click.echo(_line(model))
    for publication in status.publications:
        click.echo(f"mounted: {publication.model} by pod {publication.pod_uid}")


def _line(model: NodeModelStatus) -> str:
    why = f"  {model.reason}: {model.message}" if model.reason else ""
    return f"{model.model}  {model.state:8}  {_gib(model.bytes_done)} of {_gib(model.bytes_total)}{why}"


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"


async def _ask(socket: Path) -> bytes:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.get("http://agent/v1/status") as answer,
        ):
            body = await answer.read()
            if answer.status != 200:
                raise AgentUnavailable(f"the agent answered {answer.status}")
            return body
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise AgentUnavailable(
            f"no agent answers on {socket} ({type(error).__name__})", hint="name its socket with --socket"
        ) from error
