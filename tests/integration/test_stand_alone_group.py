"""A group without a cluster, as docs/stand-alone.md sets it up: agents with one key, and a job that waits for all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.group import Agent, free_port
from tests.support.exchange_group import make_key
from tests.support.fake_registry import FakeRegistry

WITHIN_S = 60


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Agent]]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    key_file = make_key(tmp_path / "group.key")
    with FakeRegistry() as registry, ExitStack() as stack:
        registry.add_model("models/m", "v1", {"model.safetensors": bytes(range(256)) * 40_000, "config.json": b"{}"})
        members = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        agents = []
        for number, listen in enumerate(members):
            agent = Agent(
                f"node-{number}",
                folder=tmp_path,
                source=f"oci://{registry.host}/models/m:v1",
                origin=registry.host,
                listen=listen,
                group=members,
                key_file=key_file,
            )
            stack.callback(agent.stop)
            agents.append(agent)
        yield agents


def wait(agent: Agent, *, timeout: str) -> subprocess.CompletedProcess[str]:
    config = agent.root.parent / "agent.yaml"
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "wait", "--group", str(config), "--timeout", timeout],
        capture_output=True,
        text=True,
        timeout=WITHIN_S + 30,
        check=False,
    )


def test_wait_ends_when_every_member_is_warm_and_not_before(group: list[Agent]) -> None:
    done = wait(group[0], timeout=f"{WITHIN_S}s")
    assert done.returncode == 0, done.stderr
    assert all(agent.view().ready for agent in group)


def test_wait_names_the_member_that_is_missing(group: list[Agent]) -> None:
    group[2].kill()
    done = wait(group[0], timeout="6s")
    assert done.returncode == 10
    assert "WaitTimeout" in done.stderr
