"""The commands on a cluster, as processes, on a real API server with a real controller."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from api import keys
from controller.resources import WARM_SET
from kube.client import Client
from kube.resources import POD
from tests.support.control import TEAM, Control, agent_says, controlling, make_model, make_node, pod, wanted_on
from tests.support.controlplane import ControlPlane
from tests.support.installation import eventually
from tests.support.processes import ROOT


@dataclass
class Done:
    code: int
    out: str
    err: str


Cli = Callable[..., Awaitable[Done]]


@pytest.fixture
async def control(cluster: Client) -> AsyncIterator[Control]:
    async with controlling(cluster) as control:
        await make_model(cluster)
        await make_node(cluster, "n1", labels={"pool": "a"})
        await agent_says(cluster, "n1")
        yield control


@pytest.fixture
def cli(control_plane: ControlPlane) -> Cli:
    async def run(*arguments: str) -> Done:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "KUBECONFIG": str(control_plane.kubeconfig)}
        command = [sys.executable, "-m", "cli.main", *arguments]
        found = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        return Done(found.returncode, found.stdout, found.stderr)

    return run


async def test_warm_makes_a_warm_set_and_wait_returns_when_it_is_warm(
    control: Control, cluster: Client, cli: Cli
) -> None:
    made = await cli("warm", "llama", "--selector", "pool=a", "-n", TEAM)
    assert (made.code, made.out) == (0, "team/llama\n"), made.err
    assert (await cluster.get(WARM_SET, "llama", namespace=TEAM))["spec"] == {
        "models": ["llama"],
        "placement": {"nodeSelector": {"pool": "a"}},
    }
    waiting = asyncio.create_task(cli("wait", "llama", "-n", TEAM, "--timeout", "30s"))
    await asyncio.sleep(2)
    assert not waiting.done()
    await agent_says(cluster, "n1", {"llama": "Ready"})
    done = await waiting
    assert done.code == 0, done.err


async def test_wait_ends_with_its_exit_code_when_it_takes_too_long(control: Control, cli: Cli) -> None:
    await cli("warm", "llama", "--groups", "1", "--size", "1", "-n", TEAM)
    done = await cli("wait", "llama", "-n", TEAM, "--timeout", "2s")
    assert done.code == 10
    assert "waiting for team/llama: " in done.err
    assert "error: WaitTimeout" in done.err
    assert (await cli("wait", "nosuch", "-n", TEAM)).code == 3


async def test_status_shows_groups_nodes_and_bytes(control: Control, cluster: Client, cli: Cli) -> None:
    await cli("warm", "llama", "--groups", "1", "--size", "1", "-n", TEAM)
    await agent_says(cluster, "n1", {"llama": "Pulling"}, bytesDone=500)

    async def shown() -> bool:
        return "500 B of 1000 B" in (await cli("status", "-n", TEAM)).out

    await eventually(shown, what="the bytes")
    text = (await cli("status", "-A")).out
    for part in ("WARMSET", "team/llama", "0/1", "1000 B", "False (Warming)", "llama-0", "n1", "Pulling"):
        assert part in text
    (found,) = json.loads((await cli("status", "llama", "-n", TEAM, "-o", "json")).out)
    assert found["status"]["groups"][0]["nodes"][0]["bytesDone"] == 500


async def test_cool_gives_the_model_up(control: Control, cluster: Client, cli: Cli) -> None:
    await cli("warm", "llama", "--selector", "pool=a", "-n", TEAM)
    await agent_says(cluster, "n1", {"llama": "Ready"})
    done = await cli("cool", "llama", "-n", TEAM)
    assert done.code == 0, done.err

    async def tombstone() -> bool:
        return [m.get("desired") for m in await wanted_on(cluster, "n1")] == ["Absent"]

    await eventually(tombstone, what="a tombstone")
    assert "Cooled" in (await cli("status", "-n", TEAM)).out


async def test_explain_says_what_a_pod_waits_for(control: Control, cluster: Client, cli: Cli) -> None:
    await cluster.create(POD, pod("waits", annotations={keys.MODEL: "llama"}, gpus=8), namespace=TEAM)

    async def told() -> bool:
        return "Planned: warming 1 nodes" in (await cli("explain", "waits", "-n", TEAM)).out

    await eventually(told, what="the event")
    text = (await cli("explain", "waits", "-n", TEAM)).out
    assert "held by warmset.dev/weights" in text
    assert "Warming: 0 of 1 planned nodes are warm" in text
    assert "model team/llama: sha256:" in text
    text = (await cli("explain", "pod-waits", "-n", TEAM)).out
    assert "WarmSet pod-waits: 0 of 1 groups" in text
    assert (await cli("explain", "nosuch", "-n", TEAM)).code == 3


async def test_plan_shows_nodes_what_they_hold_and_why_others_are_out(
    control: Control, cluster: Client, cli: Cli
) -> None:
    await make_node(cluster, "n2", labels={"pool": "b"})
    await agent_says(cluster, "n1", {"llama": "Ready"})
    text = (await cli("plan", "llama", "--groups", "1", "--size", "1", "--level", "pool", "-n", TEAM)).out
    for part in ("group 0: 1 nodes in pool=a, 0 B to pull", "n1", "1000 B", "n2", "NoAgent"):
        assert part in text
    dry = await cli("warm", "llama", "--groups", "1", "--size", "2", "--dry-run", "-o", "json", "-n", TEAM)
    (group,) = json.loads(dry.out)["groups"]
    assert (group["reason"], group["nodes"]) == ("NoDomainFits", [])
    assert (await cluster.list(WARM_SET, namespace=TEAM)) == []
    assert (await cli("plan", "nosuch", "--groups", "1", "--size", "1", "-n", TEAM)).code == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("warm", "llama"), "say where"),
        (("warm", "llama", "--groups", "2"), "say where"),
        (("warm", "llama", "--selector", "pool"), "not key=value"),
        (("warm", "oci://r/x:1", "--selector", "a=b"), "takes Models by name"),
        (("warm", "Llama!", "--selector", "a=b"), "Llama!"),
    ],
)
async def test_a_mistake_is_one_line_and_exit_code_2(
    control: Control, cli: Cli, arguments: tuple[str, ...], says: str
) -> None:
    done = await cli(*arguments, "-n", TEAM)
    assert done.code == 2
    assert done.err.startswith("error: InvalidRequest:")
    assert says in done.err
    assert "Traceback" not in done.err
