from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from csi.agent_client import AgentClient
from csi.config import Config
from tests.support.csi_node import MODEL, Pod
from tests.support.fake_agent import FakeAgent


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A node with a kubelet folder and a cache that never gets a mount."""
    (tmp_path / "kubelet" / "pods").mkdir(parents=True)
    return Config(
        endpoint=tmp_path / "csi.sock",
        agent_socket=tmp_path / "agent.sock",
        cache_root=tmp_path / "cache",
        kubelet_dir=tmp_path / "kubelet",
        node_name="node-1",
        version="1.2.3",
    )


@pytest.fixture
def pod(config: Config) -> Pod:
    pod = Pod(uid=str(uuid.uuid4()), kubelet=config.kubelet_dir, volume="weights")
    pod.target.parent.mkdir(parents=True)
    return pod


@pytest.fixture
async def agent(config: Config) -> AsyncIterator[FakeAgent]:
    """An agent that has MODEL."""
    async with FakeAgent(socket=config.agent_socket, cache_root=config.cache_root) as agent:
        agent.add_tree(MODEL, {"config.json": b"{}"})
        yield agent


@pytest.fixture
async def client(config: Config) -> AsyncIterator[AgentClient]:
    async with AgentClient(config.agent_socket) as client:
        yield client
