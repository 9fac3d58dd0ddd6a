"""Who is answered by the webhook, where its configuration names the authority of the API server's certificate."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec
import pytest

from controller.admission.webhook import Webhook
from controller.broker.grants import Broker
from controller.certificates.trust import Trust
from controller.cluster.owners import Owners
from controller.cluster.world import World
from controller.config import Config, Sources
from controller.metrics import Metrics
from controller.server import serve_https
from kube.client import ApiError, Client
from tests.support.certificates import write_certificates


class NoSecrets:
    """An API server without any object, which takes what it is given."""

    async def get(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise ApiError(404, "NotFound", "")

    async def create(self, _: Any, body: dict[str, Any], **__: Any) -> dict[str, Any]:
        return body


class Served:
    def __init__(self, port: int, trusted: bytes) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.trusted = trusted.decode()

    async def post(self, path: str, *, certificate: tuple[Path, Path] | None = None) -> tuple[int, str]:
        tls = ssl.create_default_context(cadata=self.trusted)
        if certificate is not None:
            tls.load_cert_chain(*certificate)
        review = {"request": {"uid": "u", "operation": "DELETE"}}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, data=msgspec.json.encode(review), ssl=tls) as answer,
        ):
            return answer.status, (await answer.json()).get("message", "")


@pytest.fixture
def client_certificate(tmp_path: Path) -> tuple[Path, Path, Path]:
    return write_certificates(tmp_path)


@pytest.fixture
async def served(request: pytest.FixtureRequest, client_certificate: tuple[Path, Path, Path]) -> AsyncIterator[Served]:
    authority = client_certificate[0].read_text() if request.param == "named" else ""
    config = Config(namespace="home", certificate_hosts=("127.0.0.1",), webhook_client_ca=authority)
    client, world = cast("Client", NoSecrets()), World()
    trust = Trust(client, config)
    bundle = await trust.refresh()
    broker = Broker(client, world, sources=Sources(), agents="agents", signers=lambda: trust.signers)
    async with serve_https(
        ("127.0.0.1", 0),
        tls=trust.tls,
        webhook=Webhook(client, world, Owners(client)),
        broker=broker,
        metrics=Metrics(),
    ) as (_, port):
        yield Served(port, bundle.trusted)


@pytest.mark.parametrize("served", ["named"], indirect=True)
@pytest.mark.parametrize("path", ["/mutate", "/inherit"])
async def test_only_a_caller_with_the_api_servers_certificate_is_answered(
    served: Served, client_certificate: tuple[Path, Path, Path], path: str
) -> None:
    assert await served.post(path) == (401, "a client certificate is needed")
    assert (await served.post(path, certificate=client_certificate[1:]))[0] == 200


@pytest.mark.parametrize("served", ["named"], indirect=True)
async def test_agents_need_no_certificate_for_the_broker_only_their_token(served: Served) -> None:
    assert await served.post("/v1/grants") == (401, "a bearer token is needed")


@pytest.mark.parametrize("served", ["none"], indirect=True)
async def test_without_an_authority_every_caller_is_answered(served: Served) -> None:
    assert (await served.post("/mutate"))[0] == 200
