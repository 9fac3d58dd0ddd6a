"""Every order in which workload controllers make pods, on a real API server and scheduler: none of them deadlocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from api import keys
from controller.admission.inherited import inherited
from controller.objects.pods import node
from kube.client import Client, Object
from kube.resources import EVENT, NAMESPACE, POD
from tests.support import lws
from tests.support.claims import claim_devices
from tests.support.control import TEAM, Control, agent_says, groups_on, make_model, make_node, wanted_on
from tests.support.installation import eventually
from tests.support.owner_controllers import Late, OwnerControllers
from tests.support.workloads import load

MODELS = ("falcon", "llama")
RACKS = {"n1": "r1", "n2": "r1", "n3": "r1", "n4": "r1", "n5": "r2", "n6": "r2"}


@pytest.fixture
async def agents(control: Control, cluster: Client) -> AsyncIterator[None]:
    """Six cold nodes, whose agents have at once what they are told to have, of two models."""
    for name, rack in RACKS.items():
        await make_node(cluster, name, labels={"rack": rack})
        await agent_says(cluster, name)

    async def pull() -> None:
        warm: set[str] = set()
        while True:
            for name in RACKS.keys() - warm:
                wanted = {model["model"] for model in await wanted_on(cluster, name)}
                if wanted:
                    models = (model for model in MODELS if keys.model_key(TEAM, model) in wanted)
                    await agent_says(cluster, name, dict.fromkeys(models, "Ready"))
                    warm.add(name)
            await asyncio.sleep(0.1)

    pulling = asyncio.create_task(pull())
    yield
    pulling.cancel()
    with suppress(asyncio.CancelledError):
        await pulling  # had it ended before, this is why the nodes stayed cold


def follow_the_leader(key: str) -> Late:
    """LWS and JobSet give followers of an exclusive group their leader's domain as nodeSelector."""

    def follow(pods: list[Object], before: list[Object]) -> None:
        for pod in pods:
            if pod["metadata"]["labels"].get("batch.kubernetes.io/job-completion-index") == "0":
                continue  # leads a Job of its own
            pod["spec"] = pod["spec"] | {"nodeSelector": {key: RACKS[before[0]["spec"]["nodeName"]]}}

    return follow


def without_gates(prefix: str) -> Late:
    """Grove takes its own gate away once the base gang is scheduled."""

    def ungate(pods: list[Object], before: list[Object]) -> None:
        for pod in pods:
            kept = [gate for gate in pod["spec"]["schedulingGates"] if not gate["name"].startswith(prefix)]
            pod["spec"] = pod["spec"] | {"schedulingGates": kept}

    return ungate


@dataclass(frozen=True)
class Order:
    """Pods in the order in which they are made; each stage once the one before is bound and Ready."""

    file: str
    stages: tuple[tuple[str, ...], ...]
    late: Late | None = None


ORDERS = {
    "lws exclusive topology": Order(
        "lws", (("vllm-0",), ("vllm-0-1", "vllm-0-2", "vllm-0-3")), follow_the_leader("rack")
    ),
    "lws LeaderReady": Order("lws", (("vllm-0",), ("vllm-0-1",), ("vllm-0-2",), ("vllm-0-3",))),
    "statefulset OrderedReady": Order("statefulset", (("web-0",), ("web-1",))),
    "statefulset replaced pod by pod": Order("statefulset", (("gang-0",), ("gang-2",))),
    "jobset InOrder, exclusive topology": Order(
        "jobset", (("driver-0",), ("workers-0-0",), ("workers-0-1",)), follow_the_leader("rack")
    ),
    "trainjob after its initializer": Order("trainjob", (("initializer-0",), ("node-0", "node-1"))),
    "mpijob WaitForWorkersReady": Order("mpijob", (("late-worker-0", "late-worker-1"), ("late-launcher-0",))),
    "mpijob AtStartup": Order("mpijob", (("llm-worker-0", "llm-worker-1"), ("llm-launcher-0",))),
    "rayservice head first": Order("kuberay", (("head",), ("gpu-0", "gpu-1"), ("slice-0", "slice-1"))),
    "ray autoscaler": Order("kuberay", (("elastic-0",),)),
    "job beyond its parallelism": Order("job", (("train-0",), ("train-1",))),
    "kserve head before workers": Order("kserve", (("head-1",), ("worker-1", "worker-2"))),
    "grove scaled gang after the base gang": Order(
        "grove", (("frontend-0",), ("pleader-0", "pworker-0", "pworker-1")), without_gates("grove.io/")
    ),
    "kserve workers before head": Order("kserve", (("worker-1", "worker-2"), ("head-1",))),
    "kserve on one node": Order("kserve", (("small-1",),)),
    "llminferenceservice on one node": Order("llminferenceservice", (("one",),)),
    "disaggregatedset": Order("disaggregatedset", (("leader",),)),
    "deployment": Order("deployment", (("one",), ("two",))),
    "daemonset": Order("daemonset", (("one",),)),
    "knative, a pod and a named group": Order("knative", (("one",), ("two",), ("three",))),
    "modelmesh": Order("modelmesh", (("one",),)),
    "volcano job": Order("volcano", (("master-0",), ("worker-1",))),
    "volcano pod groups": Order("volcano", (("mine-0",), ("chat-0",))),
    "kai": Order("kai", (("tune-0",), ("tune-1",), ("alone-0",))),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
async def test_each_stage_starts_though_the_next_does_not_exist(cluster: Client, agents: None, order: Order) -> None:
    await make_model(cluster)
    before: tuple[str, ...] = ()
    async with OwnerControllers(cluster, load(order.file), namespace=TEAM) as owners:
        for stage in order.stages:
            await owners.make_pods(stage, after=before, late=order.late if before else None)
            await owners.released(stage, within_s=20)
            await owners.run(stage)
            before = stage


@pytest.mark.parametrize(
    ("file", "stage", "warm"),
    [
        ("lws", ("vllm-0",), 4),
        ("mpijob", ("llm-worker-0", "llm-worker-1"), 2),
        ("kuberay", ("head",), 2),
        ("jobset", ("workers-0-0",), 2),
        ("statefulset", ("gang-0",), 3),
        ("job", ("train-0",), 3),
        ("disaggregatedset", ("leader",), 2),
        ("trainjob", ("node-0",), 2),
        ("kserve", ("head-1",), 3),
        ("knative", ("two",), 2),
        ("grove", ("pleader-0",), 3),
        ("volcano", ("master-0",), 3),
        ("kai", ("tune-0",), 2),
    ],
)
async def test_the_declared_size_is_warmed_before_the_rest_exists(
    control: Control, cluster: Client, file: str, stage: tuple[str, ...], warm: int
) -> None:
    """Of six cold nodes, as many are told to pull as the group will need, though only its first pods exist."""
    await make_model(cluster)
    for name, rack in RACKS.items():
        await make_node(cluster, name, labels={"rack": rack})
        await agent_says(cluster, name)

    async def told() -> bool:
        return len([name for name in RACKS if await groups_on(cluster, name)]) == warm

    async with OwnerControllers(cluster, load(file), namespace=TEAM) as owners:
        await owners.make_pods(stage)
        await eventually(told, what=f"{warm} nodes planned", within_s=20)


async def test_pods_that_share_a_claim_start_together(agents: None, cluster: Client) -> None:
    await make_model(cluster)
    await claim_devices(cluster, "imex-channel", namespace=TEAM)
    pods = ("a-0", "a-1")
    async with OwnerControllers(cluster, load("dra"), namespace=TEAM) as owners:
        await owners.make_pods(pods)
        await owners.released(pods, within_s=20)
        await owners.run(pods)


async def test_a_grove_replica_is_warmed_within_what_its_pod_gang_packs_by(control: Control, cluster: Client) -> None:
    """Of three warm nodes two are in another rack; Grove's scheduler would not go there."""
    await make_model(cluster)
    for name, rack in RACKS.items():
        await make_node(cluster, name, labels={"rack": rack})
        await agent_says(cluster, name, {"llama": "Ready"} if name in ("n4", "n5", "n6") else None)
    workloads = load("grove")
    workloads.objects["podgang"] = {
        "apiVersion": "scheduler.grove.io/v1alpha1",
        "kind": "PodGang",
        "metadata": {"name": "dsr1-0-prefill-0", "namespace": "team", "uid": "podgang"},
        "spec": {"topologyConstraint": {"packConstraint": {"required": "rack"}}},
    }

    async def planned() -> bool:
        found = {name for name in RACKS if await groups_on(cluster, name)}
        return len(found) == 3 and "n4" in found and {RACKS[name] for name in found} == {"r1"}

    async with OwnerControllers(cluster, workloads, namespace=TEAM) as owners:
        await owners.make_pods(["pleader-0", "pworker-0", "pworker-1"])
        await eventually(planned, what="three nodes of one rack planned", within_s=20)


@asynccontextmanager
async def inheriting(cluster: Client) -> AsyncIterator[None]:
    """Pods of the team take annotations from what is above them."""
    await cluster.patch(NAMESPACE, TEAM, {"metadata": {"labels": {keys.INHERIT: "true"}}})
    try:
        yield
    finally:
        await cluster.patch(NAMESPACE, TEAM, {"metadata": {"labels": {keys.INHERIT: None}}})


async def test_a_pod_inherits_from_its_workspace_where_the_namespace_opts_in(control: Control, cluster: Client) -> None:
    """One call of the API server: the first entry adds the annotation, the second sees it and does the rest."""
    await make_model(cluster, "falcon")
    workloads = load("kaito")
    pod = workloads.pods["falcon-0"]
    assert inherited(pod, owners=workloads.chain(pod))[keys.MODEL] == "falcon"
    async with OwnerControllers(cluster, workloads, namespace=TEAM) as owners:
        (before,) = await owners.make_pods(["falcon-0"])
        async with inheriting(cluster):
            (created,) = await owners.make_pods(["falcon-1"])
    assert "schedulingGates" not in before["spec"]
    assert created["metadata"]["annotations"][keys.MAX_HOLD] == "10m"
    assert created["spec"]["schedulingGates"] == [{"name": keys.GATE}]
    (volume,), (container,) = created["spec"]["volumes"], created["spec"]["containers"]
    assert volume["csi"]["driver"] == keys.CSI_DRIVER  # in place of the folder that Kaito says is on the node
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/opt/kaito/models/falcon-40b"]


@pytest.mark.parametrize(
    ("file", "leader", "model"), [("llminferenceservice", "leader", "llama"), ("kaito", "falcon-0", "falcon")]
)
async def test_a_leader_that_inherits_starts_and_a_node_is_kept_for_the_other_pod(
    agents: None, cluster: Client, file: str, leader: str, model: str
) -> None:
    await make_model(cluster, model)
    async with OwnerControllers(cluster, load(file), namespace=TEAM) as owners:
        async with inheriting(cluster):
            (made,) = await owners.make_pods([leader])
        assert made["spec"]["schedulingGates"] == [{"name": keys.GATE}]
        await owners.released([leader], within_s=20)
        await owners.run([leader])
        (pod,) = await cluster.list(POD, namespace=TEAM)
        assert len([name for name in RACKS.keys() - {node(pod)} if await groups_on(cluster, name)]) == 1


async def test_sub_groups_of_one_replica_go_together(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    racks = {f"{rack}n{number}": rack for rack in ("r1", "r2") for number in range(4)}
    for name, rack in racks.items():
        await make_node(cluster, name, labels={"rack": rack})
        await agent_says(cluster, name)
    pods = ("sub-0-1", "sub-0-4", "sub-0-5", "sub-0-8")
    async with OwnerControllers(cluster, load("lws-subgroups"), namespace=TEAM) as owners:
        made = await owners.make_pods(pods)

        async def planned() -> bool:
            return all([await groups_on(cluster, name) for name in racks])

        await eventually(planned, what="both sub-groups planned")
        for name in (name for name, rack in racks.items() if rack == "r1"):
            await agent_says(cluster, name, {"llama": "Ready"})

        async def told() -> bool:
            events = await cluster.list(EVENT, namespace=TEAM)
            return any(event["reason"] == "PartsWarming" for event in events)

        await eventually(told, what="one sub-group waiting for the other")
        names = [pod["metadata"]["name"] for pod in made]
        found = [await cluster.get(POD, name, namespace=TEAM) for name in names]
        assert all(pod["spec"].get("schedulingGates") for pod in found)
        for name in racks:
            await agent_says(cluster, name, {"llama": "Ready"})
        await owners.released(pods, within_s=10)


async def test_a_held_group_that_is_scaled_down_waits_for_fewer_nodes_though_no_pod_changed(
    control: Control, cluster: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other pods were never made, so that no pod tells of it: the owner is asked again while the gate holds."""
    monkeypatch.setattr("controller.cluster.owners.FRESH_S", 0.0)
    monkeypatch.setattr("controller.reconcile.pods.LOOK_AGAIN_S", 0.2)
    monkeypatch.setattr("controller.reconcile.groups.RESYNC_S", 0.5)
    await make_model(cluster)
    for name in RACKS:
        await make_node(cluster, name)
        await agent_says(cluster, name)
    async with OwnerControllers(cluster, load("statefulset"), namespace=TEAM) as owners:
        await owners.make_pods(["gang-0"])

        async def planned(count: int) -> bool:
            return len([name for name in RACKS if await groups_on(cluster, name)]) == count

        await eventually(lambda: planned(3), what="three nodes planned")
        await cluster.patch(lws.STATEFUL_SETS, "gang", {"spec": {"replicas": 1}}, namespace=TEAM)
        await eventually(lambda: planned(1), what="one node planned")


async def test_a_stateful_set_that_was_scaled_down_gives_its_other_nodes_back(
    control: Control, cluster: Client, agents: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods of its old size that are never made again must not reserve what other groups could use."""
    monkeypatch.setattr("controller.cluster.owners.FRESH_S", 0.0)
    monkeypatch.setattr("controller.reconcile.pods.LOOK_AGAIN_S", 0.2)
    await make_model(cluster)
    async with OwnerControllers(cluster, load("statefulset"), namespace=TEAM) as owners:
        await owners.make_pods(["gang-0", "gang-2"])
        await owners.run(["gang-0", "gang-2"])

        async def kept_free() -> int:
            taken = {pod["spec"].get("nodeName") for pod in await cluster.list(POD, namespace=TEAM)}
            return len([name for name in RACKS.keys() - taken if await groups_on(cluster, name)])

        async def for_one() -> bool:
            return await kept_free() == 1

        async def for_none() -> bool:
            return await kept_free() == 0

        await eventually(for_one, what="a node kept for the pod that is still to come", within_s=20)
        await cluster.patch(lws.STATEFUL_SETS, "gang", {"spec": {"replicas": 1}}, namespace=TEAM)
        await cluster.delete(POD, "gang-2", namespace=TEAM, grace_s=0)
        await eventually(for_none, what="no node kept", within_s=20)
