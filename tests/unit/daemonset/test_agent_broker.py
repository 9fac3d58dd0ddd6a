"""Asking the broker for a grant, over real TLS on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

import daemonset.broker
from api.broker import Grant, GrantRequest, RegistryCredential
from api.errors import ClusterUnavailable, Forbidden, SourceUnavailable, WarmsetError
from api.node import NodeError
from daemonset.broker import BrokerClient
from daemonset.config import Broker
from tests.support.certificates import write_certificates
from tests.unit.daemonset.doubles import SECRET, revision, wanted

LLAMA = wanted("llama")
GRANT = Grant(
    model="default/llama",
    source="oci://registry.example.com/llama:v1",
    revision=revision("v1"),
    credential=RegistryCredential(host="registry.example.com", username="u", password=SECRET),
)


@dataclass
class Server:
    """What it answers, in order (the last one again and again), and what it was asked."""

    broker: Broker
    answers: list[tuple[int, bytes]]
    tokens: list[str] = field(default_factory=list)
    asked: list[GrantRequest] = field(default_factory=list)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    ca, certificate, key = write_certificates(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    token = tmp_path / "token"
    token.write_text("token-1\n")
    made = Server(Broker(url="", ca_file=ca, token_file=token), [(200, msgspec.json.encode(GRANT))])

    async def grants(request: web.Request) -> web.Response:
        made.tokens.append(request.headers["Authorization"])
        made.asked.append(msgspec.json.decode(await request.read(), type=GrantRequest))
        status, body = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_post("/v1/grants", grants)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    made.broker = Broker(url=f"https://127.0.0.1:{port}", ca_file=ca, token_file=token)
    yield made
    await runner.cleanup()
    await asyncio.sleep(0.05)  # lets closed TLS transports go before the loop does


def refusal(reason: str) -> bytes:
    return msgspec.json.encode(NodeError(reason=reason, message=f"{reason}!"))


async def test_a_grant_is_asked_for_by_hash_and_revision_with_the_token_of_the_moment(server: Server) -> None:
    client = BrokerClient(server.broker)
    assert await client.grant(LLAMA) == GRANT
    server.broker.token_file.write_text("token-2")
    await client.grant(LLAMA)
    assert server.asked[0] == GrantRequest(model=LLAMA.model, revision=LLAMA.revision)
    assert server.tokens == ["Bearer token-1", "Bearer token-2"]


async def test_an_authority_that_did_not_sign_it_ends_the_call_before_the_token_is_sent(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger, _, _ = write_certificates(tmp_path / "other")
    broker = Broker(url=server.broker.url, ca_file=stranger, token_file=server.broker.token_file)
    with pytest.raises(ClusterUnavailable, match="certificate"):
        await BrokerClient(broker).grant(LLAMA)
    assert server.tokens == []


async def test_a_refusal_is_believed_only_when_it_is_repeated(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemonset.broker, "REFUSED_PAUSE_S", 0.01)
    server.answers.insert(0, (403, refusal("Forbidden")))
    assert await BrokerClient(server.broker).grant(LLAMA) == GRANT
    server.answers = [(403, refusal("Forbidden"))]
    with pytest.raises(Forbidden, match="Forbidden!"):
        await BrokerClient(server.broker).grant(LLAMA)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, refusal("Unauthorized"), ClusterUnavailable),
        (503, refusal("SourceUnavailable"), SourceUnavailable),
        (429, refusal("RateLimited"), ClusterUnavailable),
        (500, b"<html>", ClusterUnavailable),
        (302, b"", ClusterUnavailable),
        (200, b'{"model": 3, "password": "canary"}', ClusterUnavailable),
        (200, b" " * (2 << 20), ClusterUnavailable),
        (200, msgspec.json.encode(msgspec.structs.replace(GRANT, revision="other")), ClusterUnavailable),
    ],
)
async def test_other_answers_become_named_failures(
    server: Server, status: int, body: bytes, expected: type[WarmsetError]
) -> None:
    server.answers = [(status, body)]
    with pytest.raises(expected) as raised:
        await BrokerClient(server.broker).grant(LLAMA)
    assert raised.type is expected
    assert "canary" not in str(raised.value)


async def test_nobody_there_is_cluster_unavailable(server: Server) -> None:
    broker = Broker(url="https://127.0.0.1:1", ca_file=server.broker.ca_file, token_file=server.broker.token_file)
    with pytest.raises(ClusterUnavailable):
        await BrokerClient(broker).grant(LLAMA)


async def test_a_missing_token_is_named_with_its_setting(server: Server, tmp_path: Path) -> None:
    broker = Broker(url=server.broker.url, ca_file=server.broker.ca_file, token_file=tmp_path / "none")
    with pytest.raises(ClusterUnavailable) as raised:
        await BrokerClient(broker).grant(LLAMA)
    assert "token_file" in raised.value.hint
