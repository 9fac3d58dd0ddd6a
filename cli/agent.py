"""Asking the agent on this machine, over its unix socket (api/node.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from api.errors import AgentUnavailable, error_class
from api.node import NodeError

TIMEOUT_S = 10.0

T = TypeVar("T")
_F = TypeVar("_F", bound=Callable[..., Any])


def socket_option(*, default: Path | None, help: str) -> Callable[[_F], _F]:  # noqa: A002 - click's word
    return click.option(
        "--socket", type=click.Path(path_type=Path), default=default, show_default=default is not None, help=help
    )


def ask(
    socket: Path,
    what: str,
    kind: type[T],
    *,
    method: str = "GET",
    params: Mapping[str, str] | None = None,
    timeout_s: float | None = TIMEOUT_S,
) -> T:
    """The agent's answer; None for ``timeout_s`` waits as long as it takes. Raises AgentUnavailable, or what the agent
    names."""
    body = asyncio.run(_call(socket, method, what, params=params or {}, timeout_s=timeout_s))
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise AgentUnavailable(f"the agent's answer cannot be read: {error}") from error


async def _call(socket: Path, method: str, what: str, *, params: Mapping[str, str], timeout_s: float | None) -> bytes:
    import aiohttp  # a third of a second that commands without an agent need not pay

    timeout = aiohttp.ClientTimeout(total=timeout_s, connect=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.request(method, f"http://agent/v1/{what}", params=params) as answer,
        ):
            body = await answer.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise AgentUnavailable(
            f"no agent answers on {socket} ({type(error).__name__})",
            hint="is one running here? name its socket with --socket",
        ) from error
    if answer.status != 200:
        raise _named(body, status=answer.status)
    return body


def _named(body: bytes, *, status: int) -> Exception:
    try:
        said = msgspec.json.decode(body, type=NodeError)
    except msgspec.DecodeError:
        return AgentUnavailable(f"the agent answered {status}")
    return error_class(said.reason)(said.message, hint=said.hint)
