"""The unix socket as the CSI driver and local commands see it."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from api.errors import InvalidRequest
from api.node import AgentStatus, LiveSet, NodeError, Publication, PublishRequest, VerifyReport
from daemonset.socket_api import application, listen
from tests.unit.daemonset.doubles import Node, eventually, wanted

ID = "a" * 64
ASK = PublishRequest(id=ID, model="default/llama", namespace="default", pod="p", pod_uid="u", wait_s=2.0)


@pytest.fixture
async def session(node: Node, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    publications = node.publications()

    async def status() -> AgentStatus:
        return AgentStatus(
            node="n",
            version="0",
            cache_id="c",
            capacity=1,
            used=0,
            models=node.pulls.statuses(),
            publications=await publications.all(),
        )

    async def verify(target: str) -> VerifyReport:
        return VerifyReport(blobs=1 if target else 3, bytes=7, wrong=["sha256:" + "0" * 64])

    app = application(publications, status=status, verify=verify)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.SockSite(runner, listen(tmp_path / "agent.sock")).start()
    async with aiohttp.ClientSession(
        "http://agent", connector=aiohttp.UnixConnector(str(tmp_path / "agent.sock"))
    ) as client:
        yield client
    await runner.cleanup()


async def test_publish_list_and_unpublish(node: Node, session: aiohttp.ClientSession) -> None:
    node.pulls.set_desired([wanted("llama")])
    async with session.post("/v1/publications", data=msgspec.json.encode(ASK)) as answer:
        assert answer.status == 200
        published = msgspec.json.decode(await answer.read(), type=Publication)
    async with session.get("/v1/publications") as answer:
        assert msgspec.json.decode(await answer.read(), type=list[Publication]) == [published]
    for _ in range(2):
        async with session.delete(f"/v1/publications/{ID}") as answer:
            assert answer.status == 204
    async with session.get("/v1/publications") as answer:
        assert await answer.json() == []


async def test_not_yet_is_a_409_that_names_pulling(session: aiohttp.ClientSession) -> None:
    ask = msgspec.structs.replace(ASK, wait_s=0.0)
    async with session.post("/v1/publications", data=msgspec.json.encode(ask)) as answer:
        assert answer.status == 409
        assert msgspec.json.decode(await answer.read(), type=NodeError).reason == "Pulling"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/publications", b"{"),
        ("POST", "/v1/publications", b'{"id": 3}'),
        ("POST", "/v1/publications", b""),
        ("PUT", "/v1/live", b"[]"),
        ("DELETE", "/v1/publications/not-an-id", b""),
    ],
)
async def test_what_cannot_be_read_is_refused_by_name(
    session: aiohttp.ClientSession, method: str, path: str, body: bytes
) -> None:
    async with session.request(method, path, data=body) as answer:
        assert answer.status == 400
        assert msgspec.json.decode(await answer.read(), type=NodeError).reason == "InvalidRequest"


async def test_an_unknown_path_carries_a_node_error_too(session: aiohttp.ClientSession) -> None:
    async with session.get("/v2/nothing") as answer:
        assert answer.status == 404
        assert msgspec.json.decode(await answer.read(), type=NodeError).message


async def test_a_caller_that_hangs_up_leaves_no_pin_behind(node: Node, session: aiohttp.ClientSession) -> None:
    node.fetch.hold.clear()
    node.pulls.set_desired([wanted("llama")])
    with pytest.raises(TimeoutError):
        async with session.post(
            "/v1/publications", data=msgspec.json.encode(ASK), timeout=aiohttp.ClientTimeout(total=0.1)
        ):
            pass
    await eventually(lambda: node.fetch.running)
    node.fetch.hold.set()
    await eventually(lambda: node.state(wanted("llama")) == "Ready")
    await asyncio.sleep(0.1)
    assert node.store.pins() == {}


async def test_live_set_and_status(node: Node, session: aiohttp.ClientSession) -> None:
    node.pulls.set_desired([wanted("llama")])
    async with session.post("/v1/publications", data=msgspec.json.encode(ASK)) as answer:
        assert answer.status == 200
    async with session.get("/v1/status") as answer:
        status = msgspec.json.decode(await answer.read(), type=AgentStatus)
    assert [model.state for model in status.models] == ["Ready"]
    assert [publication.id for publication in status.publications] == [ID]
    async with session.put("/v1/live", data=msgspec.json.encode(LiveSet(ids=[]))) as answer:
        assert answer.status == 204
    assert node.store.pins() == {}


async def test_a_hundred_pods_at_once_get_one_pull(node: Node, session: aiohttp.ClientSession) -> None:
    async def publish(index: int) -> int:
        ask = msgspec.structs.replace(ASK, id=f"{index:064x}")
        async with session.post("/v1/publications", data=msgspec.json.encode(ask)) as answer:
            return answer.status

    calls = [asyncio.create_task(publish(index)) for index in range(100)]
    node.pulls.set_desired([wanted("llama")])
    assert await asyncio.gather(*calls) == [200] * 100
    assert len(node.fetch.calls) == 1
    assert len(node.store.pins()) == 100


async def test_the_socket_is_for_owner_and_group_only_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    listen(path).close()
    with listen(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_another_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    path.write_text("precious")
    with pytest.raises(InvalidRequest, match=r"agent\.sock"):
        listen(path)
    assert path.read_text() == "precious"


async def test_a_verification_says_what_was_wrong(session: aiohttp.ClientSession) -> None:
    async with session.post("/v1/verify") as answer:
        report = msgspec.json.decode(await answer.read(), type=VerifyReport)
    assert (report.blobs, report.bytes, len(report.wrong)) == (3, 7, 1)
    async with session.post("/v1/verify", params={"target": "oci://registry.example.com/m:v1"}) as answer:
        assert msgspec.json.decode(await answer.read(), type=VerifyReport).blobs == 1, "of one tree"
