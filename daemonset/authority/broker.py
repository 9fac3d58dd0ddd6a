"""Asks the controller's broker for grants (api/broker.py), over HTTPS with the node's bound token."""

from __future__ import annotations

import ssl
from typing import TypeVar

import aiohttp
import msgspec

from api.broker import Cohort, CohortRequest, Grant, GrantRequest
from api.errors import ClusterUnavailable, Forbidden, NotFound, RateLimited, WarmsetError, error_class
from api.fields import Wire
from api.node import NodeError
from daemonset.config import Broker
from daemonset.pulling.desired import Desired

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 1 << 20

T = TypeVar("T", bound=Wire)


class BrokerClient:
    """One connection a call: grants are rare, and token and authorities are rotated under our feet."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def grant(self, desired: Desired) -> Grant:
        """Raises Forbidden, ClusterUnavailable, or the failure that the broker names."""
        grant = await self._ask("grants", GrantRequest(model=desired.model, revision=desired.revision), Grant)
        if grant.revision != desired.revision:
            raise ClusterUnavailable(f"the broker granted revision {grant.revision!r} instead of {desired.revision!r}")
        return grant

    async def cohort(self, request: CohortRequest) -> Cohort:
        """Raises NotFound where this node pulls alone, and as ``grant``."""
        return await self._ask("cohorts", request, Cohort)

    async def _ask(self, what: str, request: GrantRequest | CohortRequest, kind: type[T]) -> T:
        try:
            token = self._broker.token_file.read_text().strip()
            tls = ssl.create_default_context(cafile=str(self._broker.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise ClusterUnavailable(
                f"cannot read the broker's token or authority: {error}",
                hint="check cluster.broker.token_file and cluster.broker.ca_file",
            ) from error
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
                session.post(
                    f"{self._broker.url}/v1/{what}",
                    data=msgspec.json.encode(request),
                    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                    ssl=tls,
                    allow_redirects=False,
                ) as response,
            ):
                body = await _read(response)
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ClusterUnavailable(f"the broker does not answer: {error or 'timed out'}") from error
        if status != 200:
            raise _failure(status, body)
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            # Not chained: the decoder's message may quote the body, and the body may hold a credential.
            raise ClusterUnavailable(f"the broker's answer is not a {kind.__name__}") from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise ClusterUnavailable(f"the broker's answer is over {MAX_ANSWER_BYTES} bytes")
    return body


def _failure(status: int, body: bytes) -> WarmsetError:
    try:
        said = msgspec.json.decode(body, type=NodeError)
    except msgspec.DecodeError:
        said = NodeError(reason="", message=f"the broker answered {status}")
    if status == 401:
        # Our own token, not the model's credential: the next one that kubelet writes may do.
        return ClusterUnavailable(f"the broker does not accept this node's token: {said.message}")
    if status == 403:
        return Forbidden(said.message, hint=said.hint)
    if status == 404:
        return NotFound(said.message, hint=said.hint)
    found = error_class(said.reason)
    if found in (WarmsetError, RateLimited):
        found = ClusterUnavailable
    return found(said.message, hint=said.hint)
