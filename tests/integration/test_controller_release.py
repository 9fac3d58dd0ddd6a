"""Groups held and let go on a real API server and scheduler; the agents' words are played."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from api import keys
from controller.objects.resources import WARM_SET
from kube.client import Client, Object
from kube.resources import EVENT, NODE, POD
from tests.support import lws
from tests.support.control import (
    REVISION,
    TEAM,
    Control,
    agent_says,
    controlling,
    groups_on,
    make_model,
    make_node,
    pod,
    wanted_on,
)
from tests.support.installation import eventually

PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
ASKS = {keys.MODEL: "llama"}


async def held(client: Client) -> dict[str, bool]:
    pods = await client.list(POD, namespace=TEAM)
    return {p["metadata"]["name"]: bool(p["spec"].get("schedulingGates")) for p in pods}


async def released(client: Client, *names: str, within_s: float = 5.0) -> list[Object]:
    async def free() -> bool:
        states = await held(client)
        return not any(states[name] for name in names)

    await eventually(free, what=f"gates of {', '.join(names)} gone", within_s=within_s)
    return [await client.get(POD, name, namespace=TEAM) for name in names]


def node_affinity(body: Object) -> dict[str, Any]:
    found: dict[str, Any] = body["spec"].get("affinity", {}).get("nodeAffinity", {})
    return found


async def create(client: Client, name: str, **spec: Any) -> Object:
    return await client.create(POD, pod(name, annotations=ASKS, gpus=8, **spec), namespace=TEAM)


async def test_a_pod_is_held_until_its_node_is_warm_and_prefers_it(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1")
    await agent_says(cluster, "n1")
    await create(cluster, "one")

    async def desired() -> bool:
        return [m["revision"] for m in await wanted_on(cluster, "n1")] == [REVISION]

    await eventually(desired, what="the model in the NodeCache")
    await asyncio.sleep(1)
    assert await held(cluster) == {"one": True}
    await agent_says(cluster, "n1", {"llama": "Ready"})
    (body,) = await released(cluster, "one")
    (term,) = node_affinity(body)[PREFERRED]
    assert (term["weight"], term["preference"]["matchExpressions"][0]["values"]) == (100, ["n1"])
    assert REQUIRED not in node_affinity(body)
    assert body["status"].get("nominatedNodeName", "n1") == "n1"  # the scheduler clears it when it binds

    async def bound() -> bool:
        return bool((await cluster.get(POD, "one", namespace=TEAM))["spec"].get("nodeName") == "n1")

    await eventually(bound, what="the pod bound")


@pytest.mark.parametrize(
    "terms",
    [
        [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}],
        [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}],
        [
            {"matchExpressions": [{"key": "nope", "operator": "Exists"}]},
            {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["r1"]}]},
        ],
    ],
)
async def test_the_api_server_takes_the_patch_whatever_affinity_a_pod_has(
    control: Control, cluster: Client, terms: list[Object]
) -> None:
    """The immutability rules of a gated pod's affinity, as the real validation applies them."""
    await make_model(cluster)
    await make_node(cluster, "n1", labels={"rack": "r1"})
    await agent_says(cluster, "n1", {"llama": "Ready"})
    theirs = {"weight": 1, "preference": {"matchExpressions": [{"key": "rack", "operator": "Exists"}]}}
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}, PREFERRED: [theirs]}}
    annotations = ASKS | {
        lws.PREFIX + "size": "1",
        lws.PREFIX + "exclusive-topology": "rack",
    }
    body = pod("vllm-0", annotations=annotations, gpus=8, affinity=affinity)
    body["metadata"]["labels"] = {lws.PREFIX + "name": "vllm", lws.PREFIX + "worker-index": "0"}
    await cluster.create(POD, body, namespace=TEAM)
    (found,) = await released(cluster, "vllm-0")
    after = node_affinity(found)
    assert len(after[PREFERRED]) == 2
    for old, new in zip(terms, after[REQUIRED]["nodeSelectorTerms"], strict=True):
        assert new["matchExpressions"][-1] == {"key": "rack", "operator": "In", "values": ["r1"]}
        assert new["matchExpressions"][:-1] == old.get("matchExpressions", [])


async def test_the_scheduler_takes_the_node_that_is_proposed_to_it(cluster: Client, control: Control) -> None:
    """Of 200 nodes the scheduler scores every second one; the one that is warm is looked at first all the same."""
    await make_model(cluster)
    await asyncio.gather(*(make_node(cluster, f"n{index}") for index in range(200)))
    for index in range(4):
        warm = f"n{index * 40 + 7}"
        await agent_says(cluster, warm, {"llama": "Ready"})
        await create(cluster, f"p{index}")
        await released(cluster, f"p{index}", within_s=10)

        async def there(name: str = f"p{index}", warm: str = warm) -> bool:
            return (await cluster.get(POD, name, namespace=TEAM))["spec"].get("nodeName") == warm

        await eventually(there, what=f"p{index} on {warm}")


async def test_an_exclusive_leader_goes_before_its_workers_exist_and_they_follow(
    control: Control, cluster: Client
) -> None:
    """LWS makes the workers only once the leader is bound: planned by the declared size, released on arrival."""
    await make_model(cluster)
    for name, rack in (("n1", "r1"), ("n2", "r1"), ("n3", "r2")):
        await make_node(cluster, name, labels={"rack": rack})
        await agent_says(cluster, name, {"llama": "Ready"} if rack == "r1" else {})
    labels = {lws.PREFIX + "name": "vllm", lws.PREFIX + "template-revision-hash": "1"}
    notes = ASKS | {lws.PREFIX + "size": "2", lws.PREFIX + "exclusive-topology": "rack"}
    leader = pod("vllm-0", annotations=notes, gpus=8)
    leader["metadata"]["labels"] = labels | {lws.PREFIX + "worker-index": "0"}
    created = await cluster.create(POD, leader, namespace=TEAM)
    (found,) = await released(cluster, "vllm-0")
    (required,) = node_affinity(found)[REQUIRED]["nodeSelectorTerms"]
    assert required["matchExpressions"] == [{"key": "rack", "operator": "In", "values": ["r1"]}]
    worker = pod("vllm-0-1", annotations=notes | {lws.PREFIX + "leader-name": "vllm-0"}, gpus=8)
    worker["spec"]["nodeSelector"] = {"rack": "r1"}
    worker["metadata"]["labels"] = labels
    worker["metadata"]["ownerReferences"] = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "vllm-0",
            "uid": created["metadata"]["uid"],
            "controller": True,
        }
    ]
    await cluster.create(POD, worker, namespace=TEAM)
    (late,) = await released(cluster, "vllm-0-1", within_s=3)
    assert REQUIRED not in node_affinity(late)  # its nodeSelector says it already

    async def bound() -> bool:
        return {p["spec"].get("nodeName") for p in await cluster.list(POD, namespace=TEAM)} == {"n1", "n2"}

    await eventually(bound, what="both on the two nodes of rack r1")


async def test_pods_that_no_node_can_run_are_let_go_at_once(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "small", gpus=1)
    await agent_says(cluster, "small")
    await create(cluster, "one")
    (body,) = await released(cluster, "one")
    assert node_affinity(body) == {}

    async def told() -> bool:
        events = [e for e in await cluster.list(EVENT, namespace=TEAM) if e["reason"] == "NoDomainFits"]
        return any("nvidia.com/gpu" in event["note"] for event in events)

    await eventually(told, what="an event that says why")


async def test_a_planned_node_that_is_cordoned_is_replaced(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    for name in ("n1", "n2"):
        await make_node(cluster, name)
        await agent_says(cluster, name)
    await create(cluster, "one")

    async def planned(name: str) -> bool:
        return bool(await groups_on(cluster, name))

    await eventually(lambda: planned("n1"), what="n1 planned")
    await cluster.patch(NODE, "n1", {"spec": {"unschedulable": True}})
    await eventually(lambda: planned("n2"), what="n2 planned")
    await agent_says(cluster, "n2", {"llama": "Ready"})
    (body,) = await released(cluster, "one")
    assert node_affinity(body)[PREFERRED][0]["preference"]["matchExpressions"][0]["values"] == ["n2"]


async def test_the_word_of_an_agent_of_an_earlier_node_of_that_name_does_not_count(
    control: Control, cluster: Client
) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1")
    await agent_says(cluster, "n1", {"llama": "Ready"}, uid="of-another-node")
    await create(cluster, "one")
    await asyncio.sleep(1.5)
    assert await held(cluster) == {"one": True}


async def test_a_hold_that_is_over_lets_the_pod_go_without_terms_and_says_so(cluster: Client) -> None:
    async with controlling(cluster, max_hold="2s"):
        await make_model(cluster)
        await make_node(cluster, "n1")
        await agent_says(cluster, "n1")
        await create(cluster, "one")
        (body,) = await released(cluster, "one", within_s=8)
        assert node_affinity(body) == {}

        async def told() -> bool:
            return "HoldExpired" in {e["reason"] for e in await cluster.list(EVENT, namespace=TEAM)}

        await eventually(told, what="an event that says why")


async def test_another_gate_is_left_and_ours_stays_while_it_is_there(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1")
    await agent_says(cluster, "n1", {"llama": "Ready"})
    await create(cluster, "one", schedulingGates=[{"name": "example.com/theirs"}])
    await asyncio.sleep(1.5)
    gates = (await cluster.get(POD, "one", namespace=TEAM))["spec"]["schedulingGates"]
    assert [g["name"] for g in gates] == ["example.com/theirs", keys.GATE]
    patch = [{"op": "remove", "path": "/spec/schedulingGates/0"}]
    await cluster.patch(POD, "one", patch, namespace=TEAM, kind="json")
    await released(cluster, "one")


async def test_a_restarted_controller_keeps_the_plan(cluster: Client) -> None:
    async with controlling(cluster) as first:
        await make_model(cluster)
        await make_node(cluster, "n2")
        await agent_says(cluster, "n2")
        await create(cluster, "one")

        async def there() -> bool:
            return bool(await groups_on(cluster, "n2"))

        await eventually(there, what="a plan")
        before = [await groups_on(cluster, name) for name in ("n1", "n2", "n3")]
        await first.kill()
    # Better nodes appear while nobody looks.
    for name in ("n1", "n3"):
        await make_node(cluster, name)
    async with controlling(cluster, identity="two"):
        for name in ("n1", "n3"):
            await agent_says(cluster, name, {"llama": "Ready"})
        await asyncio.sleep(2)
        assert [await groups_on(cluster, name) for name in ("n1", "n2", "n3")] == before


async def test_the_warm_set_of_the_workload_tells_every_state(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1")
    await agent_says(cluster, "n1", {"llama": "Pulling"}, bytesDone=400)
    await create(cluster, "one")

    async def shows(reason: str, nodes: list[tuple[str, str]]) -> bool:
        found = await cluster.list(WARM_SET, namespace=TEAM)
        if not found or "status" not in found[0]:
            return False
        status = found[0]["status"]
        seen = [(n["name"], n["state"]) for g in status.get("groups", []) for n in g.get("nodes", [])]
        conditions = {c["type"]: c["reason"] for c in status["conditions"]}
        return conditions.get("Warm") == reason and seen == nodes

    await eventually(lambda: shows("Warming", [("n1", "Pulling")]), what="Warming")
    await agent_says(cluster, "n1", {"llama": "Ready"})
    await eventually(lambda: shows("Warm", [("n1", "Ready")]), what="Warm")
    body = await cluster.get(POD, "one", namespace=TEAM)

    async def told_on_the_pod() -> bool:
        conditions = (await cluster.get(POD, "one", namespace=TEAM))["status"]["conditions"]
        return ("True", "Warm") in [
            (c["status"], c.get("reason")) for c in conditions if c["type"] == keys.READY_CONDITION
        ]

    await eventually(told_on_the_pod, what=f"the pod's condition on {body['metadata']['name']}")


async def test_a_pod_that_our_term_strands_is_deleted_once_to_be_made_anew(
    control: Control, cluster: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.gate.stranded.PATIENCE", timedelta(seconds=1))
    monkeypatch.setattr("controller.reconcile.groups.RESYNC_S", 0.5)
    await make_model(cluster)
    await make_node(cluster, "n1", labels={"rack": "r1"})
    await agent_says(cluster, "n1", {"llama": "Ready"})
    notes = ASKS | {lws.PREFIX + "size": "1", lws.PREFIX + "exclusive-topology": "rack"}
    # Something that the planner does not look at and the scheduler never finds.
    beside = {"topologyKey": "rack", "labelSelector": {"matchLabels": {"app": "nosuch"}}}
    leader = pod("vllm-0", annotations=notes, affinity={"podAffinity": {REQUIRED: [beside]}})
    leader["metadata"]["labels"] = {lws.PREFIX + "name": "vllm", lws.PREFIX + "worker-index": "0"}
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "vllm", "uid": "gone", "controller": True}
    leader["metadata"]["ownerReferences"] = [owner]

    async def deleted() -> bool:
        return not await cluster.list(POD, namespace=TEAM)

    await cluster.create(POD, leader, namespace=TEAM)
    await eventually(deleted, what="the stranded pod deleted", within_s=15)
    # Its controller makes it anew; a second time would not help either.
    await cluster.create(POD, leader, namespace=TEAM)
    await released(cluster, "vllm-0")
    await asyncio.sleep(4)
    assert not await deleted()


async def test_a_pod_waits_for_the_node_of_the_pod_that_it_replaces(control: Control, cluster: Client) -> None:
    """A full cluster: the old pod still holds its GPUs while it ends, and its node is the one that is warm."""
    await make_model(cluster)
    await make_node(cluster, "n1")
    await agent_says(cluster, "n1", {"llama": "Ready"})
    old = pod("old", gpus=8, nodeName="n1")
    old["metadata"]["finalizers"] = ["example.com/slow"]
    await cluster.create(POD, old, namespace="default")
    await cluster.delete(POD, "old", namespace="default", grace_s=30)
    await create(cluster, "new")
    await asyncio.sleep(1.5)
    assert (await held(cluster))["new"]
    await cluster.patch(POD, "old", {"metadata": {"finalizers": None}}, namespace="default")
    await cluster.delete(POD, "old", namespace="default", grace_s=0)
    (body,) = await released(cluster, "new", within_s=3)
    assert node_affinity(body)[PREFERRED][0]["preference"]["matchExpressions"][0]["values"] == ["n1"]
