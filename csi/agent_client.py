"""Talks to the node's agent over its unix socket (api/node.py has the protocol).

Every failure is a WarmsetError: the one the agent names, or AgentUnavailable when it does not answer in time or answers
what cannot be read. After AgentUnavailable it is open whether the agent did what it was asked to do.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import msgspec

from api.errors import AgentUnavailable, error_class
from api.node import LiveSet, NodeError, Publication, PublishRequest

ANSWER_S = 10.0  # an answer that needs no waiting: one fsynced file at most
_CONNECT_S = 5.0
_MAX_ANSWER_BYTES = 16 << 20  # some 30,000 publications; a node has hundreds
T = TypeVar("T")


class AgentClient:
    """An async context manager; one for the life of the driver."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        # Every pod of the node may wait for its weights at the same time: no limit of connections.
        connector = aiohttp.UnixConnector(path=str(socket), limit=0)
        self._session = aiohttp.ClientSession(connector=connector)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def publish(self, request: PublishRequest) -> Publication:
        """Have the tree here and pinned. Raises Pulling after ``request.wait_s`` seconds; else as the agent says."""
        body = msgspec.json.encode(msgspec.structs.replace(request, at=time.monotonic_ns()))
        answer = await self._call("POST", "/v1/publications", body=body, timeout_s=request.wait_s + ANSWER_S)
        return _decode(answer, Publication)

    async def unpublish(self, publication: str) -> None:
        """Let the pin go; success where there is none."""
        await self._call("DELETE", f"/v1/publications/{publication}?at={time.monotonic_ns()}")

    async def publications(self) -> list[Publication]:
        return _decode(await self._call("GET", "/v1/publications"), list[Publication])

    async def put_live(self, live: LiveSet) -> None:
        """Tell what is mounted: the agent drops every other pin."""
        await self._call("PUT", "/v1/live", body=msgspec.json.encode(live))

    async def _call(self, method: str, path: str, *, body: bytes | None = None, timeout_s: float = ANSWER_S) -> bytes:
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with self._session.request(
                method, f"http://agent{path}", data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                answer = await _read(response)
                status = response.status
        except TimeoutError as error:
            raise AgentUnavailable(f"{method} {path}: the agent gave no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise AgentUnavailable(
                f"{method} {path}: the agent does not answer on {self._socket} ({type(error).__name__})",
                hint="see whether the agent's container on this node is running",
            ) from error
        if status not in (200, 204):
            refusal = _decode(answer, NodeError)
            raise error_class(refusal.reason)(refusal.message, hint=refusal.hint)
        return answer


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for piece in response.content.iter_any():
        answer += piece
        if len(answer) > _MAX_ANSWER_BYTES:
            raise AgentUnavailable(f"the agent's answer is larger than {_MAX_ANSWER_BYTES} bytes")
    return bytes(answer)


def _decode(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:  # ValidationError is one
        raise AgentUnavailable(f"the agent's answer cannot be read: {error}") from error
