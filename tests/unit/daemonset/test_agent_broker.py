"""Asking the broker for a grant, over real TLS on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from api.broker import Grant, GrantRequest, SourceCredential
from api.errors import ClusterUnavailable, Forbidden, SourceUnavailable, WarmsetError
from api.node import NodeError
from daemonset.authority.broker import BrokerClient
from daemonset.config import Broker
from tests.support.broker import Answer, BrokerServer, serve_broker
from tests.support.certificates import write_certificates
from tests.unit.daemonset.doubles import SECRET, revision, wanted

LLAMA = wanted("llama")
GRANT = Grant(
    model="default/llama",
    source="oci://registry.example.com/llama:v1",
    revision=revision("v1"),
    credential=SourceCredential(host="registry.example.com", username="u", password=SECRET),
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[BrokerServer]:
    async with serve_broker(tmp_path, answer=always(200, msgspec.json.encode(GRANT))) as made:
        yield made


def always(status: int, body: bytes) -> Answer:
    return lambda _: (status, body)


def refusal(reason: str) -> bytes:
    return msgspec.json.encode(NodeError(reason=reason, message=f"{reason}!"))


async def test_a_grant_is_asked_for_by_hash_and_revision_with_the_token_of_the_moment(server: BrokerServer) -> None:
    client = BrokerClient(server.broker)
    assert await client.grant(LLAMA) == GRANT
    server.broker.token_file.write_text("token-2")
    await client.grant(LLAMA)
    assert server.asked[0] == GrantRequest(model=LLAMA.model, revision=LLAMA.revision)
    assert server.tokens == ["Bearer token-1", "Bearer token-2"]


async def test_an_authority_that_did_not_sign_it_ends_the_call_before_the_token_is_sent(
    server: BrokerServer, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger, _, _ = write_certificates(tmp_path / "other")
    broker = Broker(url=server.broker.url, ca_file=stranger, token_file=server.broker.token_file)
    with pytest.raises(ClusterUnavailable, match="certificate"):
        await BrokerClient(broker).grant(LLAMA)
    assert server.tokens == []


async def test_a_refusal_is_forbidden_with_the_brokers_words(server: BrokerServer) -> None:
    server.answer = always(403, refusal("Forbidden"))
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
    server: BrokerServer, status: int, body: bytes, expected: type[WarmsetError]
) -> None:
    server.answer = always(status, body)
    with pytest.raises(expected) as raised:
        await BrokerClient(server.broker).grant(LLAMA)
    assert raised.type is expected
    assert "canary" not in str(raised.value)


async def test_nobody_there_is_cluster_unavailable(server: BrokerServer) -> None:
    broker = Broker(url="https://127.0.0.1:1", ca_file=server.broker.ca_file, token_file=server.broker.token_file)
    with pytest.raises(ClusterUnavailable):
        await BrokerClient(broker).grant(LLAMA)


async def test_a_missing_token_is_named_with_its_setting(server: BrokerServer, tmp_path: Path) -> None:
    broker = Broker(url=server.broker.url, ca_file=server.broker.ca_file, token_file=tmp_path / "none")
    with pytest.raises(ClusterUnavailable) as raised:
        await BrokerClient(broker).grant(LLAMA)
    assert "token_file" in raised.value.hint
