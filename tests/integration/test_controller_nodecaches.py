"""What the controller writes into NodeCaches, and how WarmSets ask for it, on a real API server."""

from __future__ import annotations

import asyncio
from typing import Any

from api import keys
from api.resources import API_VERSION
from controller.manager import LEASE
from controller.objects.resources import MODEL, NODE_CACHE, WARM_SET
from kube.client import Client, Object
from kube.resources import LEASE as LEASES
from kube.resources import NODE, PERSISTENT_VOLUME, POD
from tests.support.claims import bind_volume, served_by_kserve
from tests.support.control import (
    HOME,
    REVISION,
    TEAM,
    TREE,
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

HASH = keys.model_key(TEAM, "llama")


async def make_warm_set(client: Client, name: str, placement: Object, **spec: Any) -> Object:
    body = {
        "apiVersion": API_VERSION,
        "kind": "WarmSet",
        "metadata": {"name": name},
        "spec": {"models": ["llama"], "placement": placement} | spec,
    }
    return await client.create(WARM_SET, body, namespace=TEAM)


async def conditions(client: Client, name: str) -> dict[str, tuple[str, str]]:
    status = (await client.get(WARM_SET, name, namespace=TEAM)).get("status", {})
    return {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", [])}


async def holds(client: Client, node: str, *, desired: str = "Present") -> bool:
    return [(m["model"], m["revision"], m.get("desired", "Present")) for m in await wanted_on(client, node)] == [
        (HASH, REVISION, desired)
    ]


async def test_every_node_gets_a_nodecache_that_it_owns(control: Control, cluster: Client) -> None:
    node = await make_node(cluster, "n1")

    async def made() -> bool:
        return bool(await cluster.list(NODE_CACHE))

    await eventually(made, what="the NodeCache")
    (cache,) = await cluster.list(NODE_CACHE)
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"]}
    assert (cache["metadata"]["name"], cache["metadata"]["ownerReferences"]) == ("n1", [owner])


async def test_a_node_that_takes_an_old_name_gets_a_new_nodecache(control: Control, cluster: Client) -> None:
    await make_node(cluster, "n1")
    await agent_says(cluster, "n1", {})
    old = await cluster.get(NODE_CACHE, "n1")
    await cluster.delete(NODE, "n1")
    await make_node(cluster, "n1")

    async def replaced() -> bool:
        found = await cluster.list(NODE_CACHE)
        return bool(found) and found[0]["metadata"]["uid"] != old["metadata"]["uid"]

    await eventually(replaced, what="another NodeCache")
    assert "status" not in await cluster.get(NODE_CACHE, "n1")


async def test_a_pod_that_is_bound_by_nobodys_plan_gets_its_model_there(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1")
    body = pod("direct", annotations={keys.MODEL: "llama"}, nodeName="n1")
    created = await cluster.create(POD, body, namespace=TEAM)
    assert "schedulingGates" not in created["spec"]
    await eventually(lambda: holds(cluster, "n1"), what="the model on n1")
    await cluster.delete(POD, "direct", namespace=TEAM, grace_s=0)

    async def free() -> bool:
        return not await wanted_on(cluster, "n1")

    await eventually(free, what="nothing wanted any more")


async def test_a_volume_that_names_a_model_it_may_not_have_brings_nothing(control: Control, cluster: Client) -> None:
    """Anybody may write a volume of our driver into his pod; the Model says whether he may have it."""
    await make_model(cluster)
    await make_node(cluster, "n1")
    csi = {"driver": keys.CSI_DRIVER, "readOnly": True, "volumeAttributes": {keys.ATTRIBUTE_MODEL: "team/llama"}}
    body = pod("thief", nodeName="n1", volumes=[{"name": "w", "csi": csi}])
    await cluster.create(POD, body, namespace="default")
    await asyncio.sleep(1.5)
    assert await wanted_on(cluster, "n1") == []


async def test_a_pod_that_mounts_by_a_claim_gets_its_model_on_its_node(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1")
    await make_node(cluster, "n2")
    await cluster.create(POD, served_by_kserve("early", claim="llama", on="n1"), namespace=TEAM)
    volume = await bind_volume(cluster, "llama", namespace=TEAM, model="team/llama")
    await eventually(lambda: holds(cluster, "n1"), what="the model on n1")
    await cluster.create(POD, served_by_kserve("late", claim="llama", on="n2"), namespace=TEAM)
    await eventually(lambda: holds(cluster, "n2"), what="the model on n2")
    await cluster.delete(POD, "late", namespace=TEAM, grace_s=0)

    async def free(node: str) -> bool:
        return not await wanted_on(cluster, node)

    await eventually(lambda: free("n2"), what="n2 free again")
    released = {"status": {"phase": "Released"}}
    await cluster.patch(PERSISTENT_VOLUME, volume["metadata"]["name"], released, subresource="status")
    await eventually(lambda: free("n1"), what="n1 free, for the claim is gone")


async def test_a_claim_brings_only_a_model_that_its_namespace_may_have(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_model(cluster, "open", allowedNamespaces=["default"])
    await make_node(cluster, "n1")
    for name in ("llama", "open"):
        await bind_volume(cluster, name, namespace="default", model=f"{TEAM}/{name}")
        await cluster.create(POD, served_by_kserve(name, claim=name, on="n1"), namespace="default")

    async def wanted() -> bool:
        return bool(await wanted_on(cluster, "n1"))

    await eventually(wanted, what="a model on n1")
    assert [entry["model"] for entry in await wanted_on(cluster, "n1")] == [keys.model_key(TEAM, "open")]


async def test_a_warm_set_by_selector_warms_every_matching_node(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    for name, pool in (("n1", "a"), ("n2", "a"), ("n3", "b")):
        await make_node(cluster, name, labels={"pool": pool})
    await make_warm_set(cluster, "ahead", {"nodeSelector": {"pool": "a"}}, priority=7, retention={"pinned": True})
    await eventually(lambda: holds(cluster, "n1"), what="n1")
    await eventually(lambda: holds(cluster, "n2"), what="n2")
    (entry,) = await wanted_on(cluster, "n1")
    assert (entry["priority"], entry["pinned"]) == (7, True)
    assert await wanted_on(cluster, "n3") == []
    for name in ("n1", "n2"):
        await agent_says(cluster, name, {"llama": "Ready"})

    async def warm() -> bool:
        return (await conditions(cluster, "ahead")).get("Warm") == ("True", "Warm")

    await eventually(warm, what="Warm")
    status = (await cluster.get(WARM_SET, "ahead", namespace=TEAM))["status"]
    assert (status["nodesReady"], status["nodesDesired"]) == (2, 2)


async def test_a_warm_set_by_groups_takes_distinct_nodes_with_spares(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    for index in range(6):
        await make_node(cluster, f"n{index}", labels={"rack": f"r{index // 3}"})
        await agent_says(cluster, f"n{index}")
    await make_warm_set(cluster, "ahead", {"groups": {"count": 2, "size": 2, "spare": 1, "topologyKey": "rack"}})

    async def planned() -> bool:
        return (await conditions(cluster, "ahead")).get("Planned") == ("True", "Planned")

    await eventually(planned, what="Planned")
    groups = (await cluster.get(WARM_SET, "ahead", namespace=TEAM))["status"]["groups"]
    assert {g["domain"] for g in groups} == {"r0", "r1"}
    assert sorted(n["name"] for g in groups for n in g["nodes"]) == [f"n{i}" for i in range(6)]


async def test_a_failing_node_degrades_the_warm_set_with_its_reason(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1", labels={"pool": "a"})
    await make_warm_set(cluster, "ahead", {"nodeSelector": {"pool": "a"}})
    await eventually(lambda: holds(cluster, "n1"), what="n1")
    await agent_says(cluster, "n1", {"llama": "Failed"}, reason="InsufficientCache", message="2 TiB needed")

    async def degraded() -> bool:
        return (await conditions(cluster, "ahead")).get("Degraded") == ("True", "InsufficientCache")

    await eventually(degraded, what="Degraded")


async def test_deleting_a_warm_set_removes_nothing_and_cooling_it_does(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1", labels={"pool": "a"})
    await make_warm_set(cluster, "ahead", {"nodeSelector": {"pool": "a"}})
    await eventually(lambda: holds(cluster, "n1"), what="n1")
    await agent_says(cluster, "n1", {"llama": "Ready"})
    await cluster.patch(WARM_SET, "ahead", {"metadata": {"annotations": {keys.COOL: "true"}}}, namespace=TEAM)
    await eventually(lambda: holds(cluster, "n1", desired="Absent"), what="a tombstone")
    await agent_says(cluster, "n1", {})

    async def cold() -> bool:
        warm = (await conditions(cluster, "ahead")).get("Warm")
        return not await wanted_on(cluster, "n1") and warm == ("False", "Cooled")

    await eventually(cold, what="the tombstone gone")
    # Taken back.
    await cluster.patch(WARM_SET, "ahead", {"metadata": {"annotations": {keys.COOL: "false"}}}, namespace=TEAM)
    await eventually(lambda: holds(cluster, "n1"), what="wanted again")
    await agent_says(cluster, "n1", {"llama": "Ready"})
    await cluster.delete(WARM_SET, "ahead", namespace=TEAM)

    async def forgotten() -> bool:
        return not await wanted_on(cluster, "n1")  # left out, not marked Absent

    await eventually(forgotten, what="no entry")


async def test_a_second_replica_stands_by_and_leads_when_the_first_stops(control: Control, cluster: Client) -> None:
    async with controlling(cluster, identity="two", webhook=False) as second:
        await asyncio.sleep(1)
        lease = await cluster.get(LEASES, LEASE, namespace=HOME)
        assert lease["spec"]["holderIdentity"] == "one"
        await control.stop()

        async def leads() -> bool:
            spec = (await cluster.get(LEASES, LEASE, namespace=HOME))["spec"]
            return bool(spec["holderIdentity"] == "two")

        await eventually(leads, what="the second leading", within_s=10)
        await make_node(cluster, "n9")

        async def works() -> bool:
            return bool(await cluster.list(NODE_CACHE))

        await eventually(works, what="work by the second")
        await second.stop()


async def test_a_model_is_called_verified_once_a_node_holds_it(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1", labels={"pool": "a"})
    await make_warm_set(cluster, "ahead", {"nodeSelector": {"pool": "a"}})
    await agent_says(cluster, "n1", {"llama": "Ready"})

    async def verified() -> bool:
        status = (await cluster.get(MODEL, "llama", namespace=TEAM))["status"]
        return status.get("tree") == TREE and "Verified" in {c["type"] for c in status["conditions"]}

    await eventually(verified, what="Verified")


async def test_a_leader_that_died_is_followed_when_its_lease_has_run_out(cluster: Client) -> None:
    async with controlling(cluster) as first:
        spec = {"holderIdentity": "dead", "leaseDurationSeconds": 2, "leaseTransitions": 4}

        async def leads(name: str) -> bool:
            leases = await cluster.list(LEASES, namespace=HOME)
            return [lease["spec"]["holderIdentity"] for lease in leases] == [name]

        await eventually(lambda: leads("one"), what="a leader")
        await first.kill()
        await cluster.patch(LEASES, LEASE, {"spec": spec}, namespace=HOME)
        async with controlling(cluster, identity="two", webhook=False):
            took_s = await eventually(lambda: leads("two"), what="another leader", within_s=15)
            assert took_s >= 1


async def test_the_plan_of_a_warm_set_outlives_its_agents_reports_and_a_restart(cluster: Client) -> None:
    async with controlling(cluster) as first:
        await make_model(cluster)
        await make_node(cluster, "n2")
        await agent_says(cluster, "n2")
        await make_warm_set(cluster, "ahead", {"groups": {"count": 1, "size": 1}})

        async def there() -> bool:
            return bool(await groups_on(cluster, "n2"))

        await eventually(there, what="a plan")
        before = [await groups_on(cluster, name) for name in ("n1", "n2", "n3")]
        for name in ("n1", "n3"):  # as good or better, but the plan stands
            await make_node(cluster, name)
            await agent_says(cluster, name, {"llama": "Ready"})
        await agent_says(cluster, "n2", {"llama": "Pulling"}, bytesDone=1)
        await asyncio.sleep(1.5)
        assert [await groups_on(cluster, name) for name in ("n1", "n2", "n3")] == before
        await first.kill()
    async with controlling(cluster, identity="two"):
        await agent_says(cluster, "n2", {"llama": "Pulling"}, bytesDone=2)
        await asyncio.sleep(1.5)
        assert [await groups_on(cluster, name) for name in ("n1", "n2", "n3")] == before
