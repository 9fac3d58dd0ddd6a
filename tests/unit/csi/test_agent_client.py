"""Whatever the agent does, the driver gets an answer or a named error."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from api.errors import AgentUnavailable, Forbidden, Pulling, RateLimited, WarmsetError
from api.node import LiveSet, PublishRequest
from csi.agent_client import AgentClient
from tests.support.csi_node import MODEL
from tests.support.fake_agent import FakeAgent

REQUEST = PublishRequest(id="ab" * 32, model=MODEL, namespace="team-a", pod="p", pod_uid="u", wait_s=1.0)


async def test_publication_is_granted_listed_and_taken_back(agent: FakeAgent, client: AgentClient) -> None:
    granted = await client.publish(REQUEST)
    assert await client.publications() == [granted]
    await client.unpublish(granted.id)
    assert await client.publications() == []


async def test_every_call_says_when_it_was_made_so_that_a_late_one_cannot_undo_a_newer(
    agent: FakeAgent, client: AgentClient
) -> None:
    for _ in range(2):
        granted = await client.publish(REQUEST)
        await client.unpublish(granted.id)
    stamps = [agent.asked[0].at, agent.ended[0], agent.asked[1].at, agent.ended[1]]
    assert 0 < stamps[0] < stamps[1] < stamps[2] < stamps[3]


async def test_taking_back_what_was_never_granted_succeeds(agent: FakeAgent, client: AgentClient) -> None:
    await client.unpublish("cd" * 32)


async def test_pull_that_goes_on_is_pulling(agent: FakeAgent, client: AgentClient) -> None:
    agent.hold_s = 5.0
    with pytest.raises(Pulling):
        await client.publish(PublishRequest(id="ab" * 32, model=MODEL, namespace="n", pod="p", pod_uid="u", wait_s=0))


@pytest.mark.parametrize("kind", [Forbidden, RateLimited])
async def test_refusal_is_raised_under_the_name_the_agent_gave(
    agent: FakeAgent, client: AgentClient, kind: type[WarmsetError]
) -> None:
    agent.refuse("POST", kind.__name__)
    with pytest.raises(kind):
        await client.publish(REQUEST)


async def test_refusal_of_an_unknown_name_is_an_error_all_the_same(agent: FakeAgent, client: AgentClient) -> None:
    agent.refuse("PUT", "OfALaterVersion")
    with pytest.raises(WarmsetError):
        await client.put_live(LiveSet(ids=[]))


async def test_agent_that_is_down_is_unavailable(client: AgentClient) -> None:
    with pytest.raises(AgentUnavailable):
        await client.publish(REQUEST)


async def test_agent_that_is_slow_is_unavailable(
    agent: FakeAgent, client: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csi.agent_client.ANSWER_S", -0.8)  # the client gives up 0.2 s after it asked
    agent.hold_s = 0.5
    with pytest.raises(AgentUnavailable, match="within"):
        await client.publish(REQUEST)


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'{"id": 1}', b"\xff\xfe"])
@pytest.mark.parametrize("status", [200, 500])
async def test_answer_that_cannot_be_read_is_unavailable(tmp_path: Path, answer: bytes, status: int) -> None:
    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=answer, status=status)

    app = web.Application()
    app.router.add_post("/v1/publications", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "odd.sock")).start()
    try:
        async with AgentClient(tmp_path / "odd.sock") as client:
            with pytest.raises(AgentUnavailable):
                await client.publish(REQUEST)
    finally:
        await runner.cleanup()
