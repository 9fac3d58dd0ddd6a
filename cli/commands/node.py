"""`warmset node`: what the agent on this machine holds, asked over its socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeVar

import aiohttp
import click
import msgspec

from api.errors import AgentUnavailable, Corrupted
from api.node import AgentStatus, VerifyReport
from api.resources import NodeModelStatus

TIMEOUT_S = 10.0

T = TypeVar("T")


@click.command("node")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    default=Path("/run/warmset/agent.sock"),
    show_default=True,
    help="The agent's unix socket.",
)
@click.option("--verify", is_flag=True, help="Let it read all its blobs again now; what is wrong is fetched again.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the result.")
def command(*, socket: Path, verify: bool, output: str) -> None:
    """Show what the agent on this machine holds.

    Models are named by the hash under which the node knows them. With --verify, ends with exit code 7 when bytes had
    rotted.
    """
    body = asyncio.run(_verify(socket) if verify else _ask(socket))
    if output == "json":
        click.echo(body)
    if verify:
        _show_verified(_decoded(body, VerifyReport), quiet=output == "json")
    elif output == "text":
        _show(_decoded(body, AgentStatus))


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise AgentUnavailable(f"the agent's answer cannot be read: {error}") from error


def _show_verified(report: VerifyReport, *, quiet: bool) -> None:
    if not quiet:
        click.echo(f"{report.blobs} blobs, {_gib(report.bytes)} read")
        for digest in report.wrong:
            click.echo(f"wrong: {digest}")
    if report.wrong:
        raise Corrupted(f"{len(report.wrong)} blobs had rotted", hint="they are fetched again; look after the disk")


def _show(status: AgentStatus) -> None:
    click.echo(f"{status.node}: agent {status.version}, cache {_gib(status.used)} of {_gib(status.capacity)}")
    if status.paused:
        click.echo("paused: no pulls, no evictions")
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
    return await _call(socket, "GET", "status", timeout_s=TIMEOUT_S)


async def _verify(socket: Path) -> bytes:
    return await _call(socket, "POST", "verify", timeout_s=None)  # as long as the disk takes


async def _call(socket: Path, method: str, what: str, *, timeout_s: float | None) -> bytes:
    timeout = aiohttp.ClientTimeout(total=timeout_s, connect=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.request(method, f"http://agent/v1/{what}") as answer,
        ):
            body = await answer.read()
            if answer.status != 200:
                raise AgentUnavailable(f"the agent answered {answer.status}")
            return body
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise AgentUnavailable(
            f"no agent answers on {socket} ({type(error).__name__})", hint="name its socket with --socket"
        ) from error
