"""A node whose agent has a model, and a driver that runs on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from csi.proto import csi_pb2_grpc
from tests.support.csi_node import FILES, MODEL, CsiNode
from tests.support.fake_agent import FakeAgent


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[FakeAgent]:
    async with FakeAgent(socket=tmp_path / "agent.sock", cache_root=tmp_path / "cache") as agent:
        agent.add_tree(MODEL, FILES)
        yield agent


@pytest.fixture
async def node(tmp_path: Path, agent: FakeAgent) -> AsyncIterator[CsiNode]:
    with CsiNode(tmp_path) as node:
        await node.start_driver()
        yield node


@pytest.fixture
async def stub(node: CsiNode) -> AsyncIterator[csi_pb2_grpc.NodeStub]:
    async with node.channel() as channel:
        yield csi_pb2_grpc.NodeStub(channel)
