"""Ahead of a workload's pods, on a real API server: scale from zero, the next revision, suspended jobs, quotas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api import keys
from api.resources import API_VERSION
from controller.cluster.flavors import FLAVORS
from controller.cluster.owners import KINDS
from controller.config import Quota
from controller.objects.nodes import PROTECTIONS
from controller.objects.resources import WARM_SET
from kube.client import Client, Object
from kube.resources import EVENT, NAMESPACE, NODE, POD, Resource
from tests.support import crds
from tests.support.control import (
    MODEL_BYTES,
    TEAM,
    Control,
    agent_says,
    controlling,
    make_model,
    make_node,
    pod,
    wanted_on,
)
from tests.support.installation import eventually
from tests.support.workload_crds import define, undefine

TAINT = "startup-taint.cluster-autoscaler.kubernetes.io/warmset"
STATEFUL_SETS, JOBS = KINDS["apps/v1", "StatefulSet"], KINDS["batch/v1", "Job"]


@pytest.fixture
async def control(cluster: Client) -> AsyncIterator[Control]:
    quotas = {"poor": Quota(bytes_per_node=str(MODEL_BYTES - 1))}
    async with controlling(cluster, quotas=quotas, startup_taint=TAINT) as control:
        for name in ("llama", "llama-2"):
            await make_model(cluster, name, allowedNamespaces=["poor"])
        for name in ("n1", "n2"):
            await make_node(cluster, name)
            await agent_says(cluster, name)
        yield control


def template(model: str) -> Object:
    meta = {"labels": {"app": "chat"}, "annotations": {keys.MODEL: model}}
    return {"metadata": meta, "spec": pod("chat", gpus=8)["spec"]}


def stateful_set(model: str, *, replicas: int = 1, **annotations: str) -> Object:
    selector = {"matchLabels": {"app": "chat"}}
    spec = {"replicas": replicas, "serviceName": "chat", "selector": selector, "template": template(model)}
    meta = {"name": "chat", "annotations": annotations}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": spec}


async def warm_set_for(client: Client, owner: Object, *, models: list[str]) -> None:
    meta, kind = owner["metadata"], owner["kind"]
    reference = {"apiVersion": owner["apiVersion"], "kind": kind, "name": meta["name"]}
    body = {
        "apiVersion": API_VERSION,
        "kind": "WarmSet",
        "metadata": {
            "name": f"{kind.lower()}-{meta['name']}",
            "ownerReferences": [reference | {"uid": meta["uid"]}],
        },
        "spec": {"models": models, "placement": {"workload": reference}},
    }
    await client.create(WARM_SET, body, namespace=TEAM)


async def told(client: Client, *, model: str) -> list[str]:
    """The nodes whose NodeCache names the model for a group."""
    key = keys.model_key(TEAM, model)
    caches = {name: await wanted_on(client, name) for name in ("n1", "n2")}
    return [name for name, wanted in caches.items() if any(w["model"] == key and w.get("groups") for w in wanted)]


async def test_a_workload_scaled_to_zero_keeps_groups_warm_where_it_says_so(control: Control, cluster: Client) -> None:
    annotations: dict[str, Any] = {keys.KEEP_WARM_GROUPS: "2"}
    owner = await cluster.create(STATEFUL_SETS, stateful_set("llama", replicas=0, **annotations), namespace=TEAM)
    try:
        await warm_set_for(cluster, owner, models=["llama"])

        async def both() -> bool:
            return await told(cluster, model="llama") == ["n1", "n2"]

        await eventually(both, what="a group on each node, before any pod exists")
    finally:
        await cluster.delete(STATEFUL_SETS, "chat", namespace=TEAM)


async def test_a_suspended_job_is_warmed_before_it_may_run(control: Control, cluster: Client) -> None:
    engine = template("llama")
    engine["spec"]["restartPolicy"] = "Never"
    spec = {"suspend": True, "parallelism": 2, "completions": 2, "template": engine}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"}, "spec": spec}
    owner = await cluster.create(JOBS, body, namespace=TEAM)
    try:
        await warm_set_for(cluster, owner, models=["llama"])

        async def both() -> bool:
            return await told(cluster, model="llama") == ["n1", "n2"]

        await eventually(both, what="both nodes of its group")
    finally:
        await cluster.delete(JOBS, "train", namespace=TEAM)


@pytest.fixture
async def sets(cluster: Client) -> AsyncIterator[Resource]:
    """DisaggregatedSets, served."""
    resource = KINDS["disaggregatedset.x-k8s.io/v1", "DisaggregatedSet"]
    await define(cluster)
    yield resource
    await undefine(cluster)


async def test_each_role_of_a_disaggregated_set_has_its_group_warmed_ahead(
    sets: Resource, control: Control, cluster: Client
) -> None:
    roles = [
        {"name": role, "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": 1, "workerTemplate": template(model)}}}
        for role, model in (("prefill", "llama"), ("decode", "llama-2"))
    ]
    meta = {"name": "pd", "annotations": {keys.KEEP_WARM_GROUPS: "1"}}
    body = {"apiVersion": sets.api_version, "kind": sets.kind, "metadata": meta, "spec": {"roles": roles}}
    owner = await cluster.create(sets, body, namespace=TEAM)
    await warm_set_for(cluster, owner, models=["llama", "llama-2"])

    async def apart() -> bool:
        prefill, decode = await told(cluster, model="llama"), await told(cluster, model="llama-2")
        return sorted(prefill + decode) == ["n1", "n2"]

    await eventually(apart, what="a node for each role, which takes it whole")


async def test_the_next_revision_comes_to_the_old_ones_node_before_its_pod_and_the_old_one_is_dropped(
    control: Control, cluster: Client
) -> None:
    owner = await cluster.create(STATEFUL_SETS, stateful_set("llama"), namespace=TEAM)
    reference = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "chat", "uid": owner["metadata"]["uid"]}

    async def make_pod(model: str) -> None:
        body = pod("chat-0", annotations={keys.MODEL: model}, gpus=8, nodeName="n2")
        body["metadata"] |= {"ownerReferences": [reference | {"controller": True}], "labels": {"app": "chat"}}
        await cluster.create(POD, body, namespace=TEAM)

    async def models() -> list[str]:
        found = await cluster.list(WARM_SET, namespace=TEAM)
        return sorted(name for warm_set in found for name in warm_set["spec"]["models"])

    try:
        await make_pod("llama")

        async def landed() -> bool:
            return await models() == ["llama"]

        await eventually(landed, what="the workload's WarmSet")

        async def noted() -> bool:
            (warm_set,) = await cluster.list(WARM_SET, namespace=TEAM)
            groups = (warm_set.get("status") or {}).get("groups", ())
            return any((group.get("timeline") or {}).get("bound") for group in groups)

        await eventually(noted, what="the stages of its start")
        change = {"spec": {"template": {"metadata": {"annotations": {keys.MODEL: "llama-2"}}}}}
        await cluster.patch(STATEFUL_SETS, "chat", change, namespace=TEAM)
        await agent_says(cluster, "n2", {"llama": "Ready"})  # any event of the workload brings the look at its owner

        async def ahead() -> bool:
            return await told(cluster, model="llama-2") == ["n2"]

        await eventually(ahead, what="the next revision on the old one's node", within_s=90)
        assert await models() == ["llama", "llama-2"]
        await cluster.delete(POD, "chat-0", namespace=TEAM, grace_s=0)
        await make_pod("llama-2")

        async def dropped() -> bool:
            return await models() == ["llama-2"]

        await eventually(dropped, what="the old model gone from the list", within_s=90)
    finally:
        await cluster.delete(STATEFUL_SETS, "chat", namespace=TEAM)


async def test_a_quota_keeps_a_model_off_and_says_so(control: Control, cluster: Client) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "poor"}}
    await cluster.patch(NAMESPACE, "poor", namespace, kind="apply")
    body = {
        "apiVersion": API_VERSION,
        "kind": "WarmSet",
        "metadata": {"name": "w"},
        "spec": {"models": [f"{TEAM}/llama"], "placement": {"nodes": ["n1"]}},
    }
    await cluster.create(WARM_SET, body, namespace="poor")

    async def said() -> bool:
        status = (await cluster.get(WARM_SET, "w", namespace="poor")).get("status") or {}
        reasons = {c["type"]: c["reason"] for c in status.get("conditions") or ()}
        return reasons.get("Planned") == "QuotaExceeded" and reasons.get("Degraded") == "QuotaExceeded"

    await eventually(said, what="the reason in its conditions")
    assert await wanted_on(cluster, "n1") == []


async def test_what_nobody_uses_for_its_time_is_asked_for_no_more(control: Control, cluster: Client) -> None:
    spec = {
        "models": ["llama"],
        "placement": {"nodes": ["n1"]},
        "retention": {"ttlAfterLastUse": "5s"},
    }
    body = {"apiVersion": API_VERSION, "kind": "WarmSet", "metadata": {"name": "w"}, "spec": spec}
    await cluster.create(WARM_SET, body, namespace=TEAM)

    async def wanted() -> bool:
        return bool(await wanted_on(cluster, "n1"))

    async def over() -> bool:
        status = (await cluster.get(WARM_SET, "w", namespace=TEAM)).get("status") or {}
        reasons = {c["type"]: c["reason"] for c in status.get("conditions") or ()}
        return reasons.get("Planned") == "Expired" and not await wanted()

    await eventually(wanted, what="the model in the NodeCache")
    await eventually(over, what="the wish gone")


async def test_a_pod_of_a_namespace_over_its_quota_says_why_it_waits(control: Control, cluster: Client) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "poor"}}
    await cluster.patch(NAMESPACE, "poor", namespace, kind="apply")
    await cluster.create(POD, pod("waits", annotations={keys.MODEL: f"{TEAM}/llama"}), namespace="poor")

    async def said() -> bool:
        found = (await cluster.get(POD, "waits", namespace="poor")).get("status") or {}
        return any(c.get("reason") == "QuotaExceeded" for c in found.get("conditions") or ())

    await eventually(said, what="the reason in its condition")


async def test_a_node_is_protected_while_a_plan_holds_it_and_joins_when_it_is_warm(
    control: Control, cluster: Client
) -> None:
    await make_node(cluster, "n3", labels={"pool": "new"})
    taint = {"spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]}}
    await cluster.patch(NODE, "n3", taint)
    body = {"apiVersion": API_VERSION, "kind": "WarmSet", "metadata": {"name": "w"}}
    groups = {"models": ["llama"], "placement": {"groups": {"count": 1, "size": 2}}}
    pool = {"models": ["llama"], "placement": {"nodeSelector": {"pool": "new"}}}
    await cluster.create(WARM_SET, body | {"spec": groups}, namespace=TEAM)
    await cluster.create(WARM_SET, body | {"metadata": {"name": "p"}, "spec": pool}, namespace=TEAM)

    async def protected() -> list[bool]:
        nodes = [await cluster.get(NODE, name) for name in ("n1", "n2")]
        return [set(PROTECTIONS) <= (node["metadata"].get("annotations") or {}).keys() for node in nodes]

    async def both() -> bool:
        return await protected() == [True, True]

    async def neither() -> bool:
        return await protected() == [False, False]

    async def joined() -> bool:
        return not (await cluster.get(NODE, "n3"))["spec"].get("taints")

    await eventually(both, what="the annotations")
    await agent_says(cluster, "n3")
    assert not await joined()
    await agent_says(cluster, "n3", {"llama": "Ready"})
    await eventually(joined, what="the taint gone")
    await cluster.delete(WARM_SET, "w", namespace=TEAM)
    await eventually(neither, what="the annotations gone")


async def test_a_node_that_kueue_places_on_by_topology_keeps_no_taint(cluster: Client) -> None:
    flavors = FLAVORS[0]
    await crds.install(cluster, crds.definition(flavors))
    spec = {"nodeLabels": {"pool": "tas"}, "topologyName": "default"}
    flavor = {"apiVersion": flavors.api_version, "kind": flavors.kind, "metadata": {"name": "tas"}, "spec": spec}
    await cluster.create(flavors, flavor)
    try:
        async with controlling(cluster, startup_taint=TAINT):
            for name, pool in (("n1", "tas"), ("n2", "other")):
                await make_node(cluster, name, labels={"pool": pool})
                await cluster.patch(NODE, name, {"spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]}})

            async def free() -> bool:
                return not (await cluster.get(NODE, "n1"))["spec"].get("taints")

            await eventually(free, what="the taint gone though the node is cold")
            assert (await cluster.get(NODE, "n2"))["spec"]["taints"]
            events = await cluster.list(EVENT, namespace="default")
            assert [e["regarding"]["name"] for e in events if e["reason"] == "TaintOnKueueNode"] == ["n1"]
    finally:
        await crds.uninstall(cluster, flavors)


async def test_engine_images_are_pulled_by_pods_that_go_when_they_are_there(control: Control, cluster: Client) -> None:
    spec = {"models": ["llama"], "placement": {"nodes": ["n1", "n2"]}, "images": ["engine:1"]}
    body = {"apiVersion": API_VERSION, "kind": "WarmSet", "metadata": {"name": "w"}, "spec": spec}
    present = {"images": [{"names": ["docker.io/library/engine:1"], "sizeBytes": 1}]}
    await cluster.patch(NODE, "n2", {"status": present}, subresource="status")
    await cluster.create(WARM_SET, body, namespace=TEAM)

    async def pods() -> list[Object]:
        return await cluster.list(POD, namespace=TEAM, label_selector=keys.IMAGES_OF)

    async def one() -> bool:
        return len(await pods()) == 1

    async def said() -> str:
        status = (await cluster.get(WARM_SET, "w", namespace=TEAM)).get("status") or {}
        return next((c["message"] for c in status.get("conditions", ()) if c["type"] == "ImagesPulled"), "")

    async def told() -> bool:
        return await said() == "1 of 2 images are on their nodes"

    async def done() -> bool:
        return await said() == "2 of 2 images are on their nodes" and not await pods()

    await eventually(one, what="a pod for the node that lacks the image")
    await eventually(told, what="the other node's image found")
    (running,) = await pods()
    container = {"name": "image", "image": "engine:1", "imageID": "sha256:1", "ready": False, "restartCount": 0}
    status = {"phase": "Succeeded", "containerStatuses": [container]}
    await cluster.patch(POD, running["metadata"]["name"], {"status": status}, namespace=TEAM, subresource="status")
    await eventually(done, what="the pod gone and the image counted")
