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
import yaml

from api import keys
from controller.cluster.owners import KINDS
from controller.objects.resources import NODE_CACHE, WARM_SET
from kube.client import Client
from kube.resources import POD
from tests.support.claims import bind_volume, served_by_kserve
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
    async def run(*arguments: str, **variables: str) -> Done:
        paths = {"PYTHONPATH": str(ROOT), "KUBECONFIG": str(control_plane.kubeconfig)}
        environment = {**os.environ, **paths, **variables}
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


async def test_warm_says_over_what_its_groups_are_spread(control: Control, cluster: Client, cli: Cli) -> None:
    out = (await cli("warm", "llama", "--groups=2", "--size=1", "--spread=zone", "-o", "json", "-n", TEAM)).out
    assert json.loads(out)["spec"]["placement"]["groups"]["spreadKey"] == "zone"


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


async def test_what_does_not_exist_is_said_with_what_to_do(control: Control, cli: Cli) -> None:
    made = await cli("warm", "lama", "--selector", "pool=a", "-n", TEAM)
    assert (made.code, made.out) == (0, "team/lama\n")
    assert "there is no Model lama yet" in made.err
    nowhere = await cli("warm", "llama", "--selector", "pool=a", "-n", "nowhere")
    assert nowhere.code == 3
    assert "hint: name one that there is with --namespace" in nowhere.err


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


async def test_explain_knows_what_a_pod_mounts_by_a_claim(control: Control, cluster: Client, cli: Cli) -> None:
    await bind_volume(cluster, "weights", namespace=TEAM, model="team/llama")
    await cluster.create(POD, served_by_kserve("served", claim="weights", on="n1"), namespace=TEAM)
    text = (await cli("explain", "served", "-n", TEAM)).out
    assert "on node n1" in text
    assert "model team/llama: sha256:" in text


async def test_plan_shows_nodes_what_they_hold_and_why_others_are_out(
    control: Control, cluster: Client, cli: Cli
) -> None:
    await make_node(cluster, "n2", labels={"pool": "b"})
    await agent_says(cluster, "n1", {"llama": "Ready"})
    text = (await cli("plan", "llama", "--groups", "1", "--size", "1", "--level", "pool", "-n", TEAM)).out
    for part in ("group 0: 1 nodes in pool=a, 0 B to pull", "n1", "1000 B", "n2", "NoAgent"):
        assert part in text
    dry = await cli("warm", "llama", "--groups", "1", "--size", "2", "--dry-run", "-o", "json", "-n", TEAM)
    (group,) = json.loads(dry.out.partition('\n{"error"')[0])["groups"]
    assert (group["reason"], group["nodes"]) == ("NoDomainFits", [])
    assert (dry.code, dry.err.splitlines()[0]) == (11, "error: NoDomainFits: no nodes for 1 of 1 groups")
    assert (await cluster.list(WARM_SET, namespace=TEAM)) == []
    assert (await cli("plan", "nosuch", "--groups", "1", "--size", "1", "-n", TEAM)).code == 3


async def test_warm_takes_nodes_by_name_and_says_how_long_they_are_kept(
    control: Control, cluster: Client, cli: Cli
) -> None:
    options = ("--nodes", "n1,lost", "--pin", "--ttl", "12h", "--image", "engine:1")
    made = await cli("warm", "llama", *options, "-o", "yaml", "-n", TEAM)
    assert made.code == 0, made.err
    assert yaml.safe_load(made.out)["spec"] == {
        "models": ["llama"],
        "placement": {"nodes": ["lost", "n1"]},
        "retention": {"pinned": True, "ttlAfterLastUse": "12h"},
        "images": ["engine:1"],
    }

    async def wanted() -> bool:
        return [model.get("pinned") for model in await wanted_on(cluster, "n1")] == [True]

    await eventually(wanted, what="the model in n1's NodeCache")
    await agent_says(cluster, "n1", {"llama": "Ready"})

    async def told() -> bool:
        return "the cluster has no node lost" in (await cli("explain", "llama", "-n", TEAM)).out

    await eventually(told, what="the missing node")


async def test_warm_for_a_workload_takes_models_and_groups_from_its_template(
    control: Control, cluster: Client, cli: Cli
) -> None:
    template = {
        "metadata": {"labels": {"app": "chat"}, "annotations": {keys.MODEL: "llama"}},
        "spec": pod("chat", gpus=8)["spec"],
    }
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "chat"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "chat"}, "spec": spec}
    deployments = KINDS["apps/v1", "Deployment"]
    made = await cluster.create(deployments, body, namespace=TEAM)
    try:
        done = await cli("warm", "--for", "deploy/chat", "-n", TEAM)
        assert (done.code, done.out) == (0, f"{TEAM}/deployment-chat\n"), done.err
        found = await cluster.get(WARM_SET, "deployment-chat", namespace=TEAM)
        assert found["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
        workload = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", "keepWarmGroups": 1}
        assert found["spec"] == {"models": ["llama"], "placement": {"workload": workload}}
        assert (await cli("warm", "--for", "deploy/nosuch", "-n", TEAM)).code == 3
    finally:
        await cluster.delete(deployments, "chat", namespace=TEAM)


async def test_nodes_and_explain_tell_what_a_node_holds(control: Control, cluster: Client, cli: Cli) -> None:
    await cli("warm", "llama", "--selector", "pool=a", "-n", TEAM)

    async def wanted() -> bool:
        return bool(await wanted_on(cluster, "n1"))

    await eventually(wanted, what="the model in n1's NodeCache")
    await agent_says(cluster, "n1", {"llama": "Failed"}, reason="DiskError", message="EIO")
    liar = {"peer": "n7", "reason": "WrongBytes", "message": "it served wrong bytes", "at": "2026-01-01T00:00:00+00:00"}
    await cluster.patch(NODE_CACHE, "n1", {"status": {"peersSetAside": [liar]}}, subresource="status")
    shown, told, wide = await asyncio.gather(
        cli("nodes"), cli("explain", "n1", "-n", TEAM), cli("nodes", "n1", "-o", "wide")
    )
    heading, row = shown.out.splitlines()
    assert heading.split()[:4] == ["NODE", "READY", "PULLING", "FAILED"]
    assert row.split()[:4] == ["n1", "0/1", "0", "1"]
    assert "team/llama: wanted, Failed 0 B, DiskError: EIO" in told.out
    assert "takes nothing from n7 any more, WrongBytes: it served wrong bytes" in told.out
    assert "cache-n1" in wide.out
    assert (await cli("nodes", "nosuch")).code == 3


async def test_a_shell_completes_names_from_the_cluster(
    control: Control, cli: Cli, control_plane: ControlPlane
) -> None:
    words = {"COMP_WORDS": f"warmset plan -n {TEAM} ll", "COMP_CWORD": "4", "_WARMSET_COMPLETE": "bash_complete"}
    done = await cli(**words)
    assert done.out.split() == ["plain,llama"], done.err
    assert "_WARMSET_COMPLETE=bash_complete" in (await cli("completion", "bash")).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("warm", "llama"), "say where"),
        (("warm", "llama", "--groups", "2"), "say where"),
        (("warm", "llama", "--selector", "pool"), "not key=value"),
        (("warm", "llama", "--selector", "pool=a", "--nodes", "n1"), "say where"),
        (("warm",), "say what to warm"),
        (("warm", "--for", "cheese/chat"), "not KIND/NAME"),
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
