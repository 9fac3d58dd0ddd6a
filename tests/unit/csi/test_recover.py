"""The report of what is live."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from api.errors import AgentUnavailable
from api.node import PublishRequest
from csi.agent_client import AgentClient
from csi.config import Config
from csi.identity import IdentityService
from csi.inflight import InFlight
from csi.proto import csi_pb2
from csi.recover import Recovery
from tests.support.csi_node import MODEL
from tests.support.fake_agent import FakeAgent


class Parts:
    """A recovery and what it works with."""

    def __init__(self, config: Config, client: AgentClient) -> None:
        self.in_flight = InFlight()
        self.started = asyncio.Event()
        self.recovery = Recovery(config=config, agent=client, in_flight=self.in_flight, started=self.started)
        self.identity = IdentityService(config=config, started=self.started)

    async def ready(self) -> bool:
        return bool((await self.identity.Probe(csi_pb2.ProbeRequest(), None)).ready.value)


@pytest.fixture
async def parts(config: Config, client: AgentClient) -> Parts:
    return Parts(config, client)


async def test_pin_without_a_mount_goes(parts: Parts, agent: FakeAgent, client: AgentClient) -> None:
    await client.publish(PublishRequest(id="ab" * 32, model=MODEL, namespace="n", pod="p", pod_uid="u"))
    await parts.recovery.report()
    assert [report.ids for report in agent.reports] == [[]]
    assert agent.pins == {}


async def test_pin_of_a_publication_that_is_under_way_stays(
    parts: Parts, agent: FakeAgent, client: AgentClient
) -> None:
    async with parts.in_flight.hold("ab" * 32):
        await client.publish(PublishRequest(id="ab" * 32, model=MODEL, namespace="n", pod="p", pod_uid="u"))
        await parts.recovery.report()
    assert len(agent.pins) == 1


async def test_driver_is_not_ready_before_it_has_read_its_mounts(parts: Parts) -> None:
    assert not await parts.ready()


async def test_driver_gets_ready_though_the_agent_is_down(parts: Parts) -> None:
    with pytest.raises(AgentUnavailable):
        await parts.recovery.report()
    assert await parts.ready()


async def test_report_that_failed_is_made_again(
    parts: Parts, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csi.recover.RETRY_S", 0.01)
    agent.refuse("PUT", "DiskError")
    running = asyncio.create_task(parts.recovery.run())
    await asyncio.wait_for(parts.started.wait(), 5)
    agent.refusals.clear()
    async with asyncio.timeout(5):
        while not agent.reports:
            await asyncio.sleep(0.01)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_plugin_info_is_the_name_in_the_csidriver_object(parts: Parts) -> None:
    answer = await parts.identity.GetPluginInfo(csi_pb2.GetPluginInfoRequest(), None)
    assert (answer.name, answer.vendor_version) == ("csi.warmset.dev", "1.2.3")


async def test_there_is_no_controller_service(parts: Parts) -> None:
    answer = await parts.identity.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest(), None)
    assert len(answer.capabilities) == 0
