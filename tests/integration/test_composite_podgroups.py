"""CompositePodGroups of Kubernetes 1.37 (KEP-6012) on the API server of 1.36, which serves them as custom resources.

That needs its own scheduling.k8s.io group off, with the plugins that read it, and the field by which pods name their
PodGroup on. kube-scheduler knows nothing of gangs here: what goes together, we let go together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from controller.cluster.owners import KINDS
from controller.objects.pods import is_gated, node
from kube.client import Client, Object
from kube.resources import EVENT, POD
from tests.support import crds, workload_crds
from tests.support.control import TEAM, agent_says, controlling, groups_on, install_crds, make_model, make_node, pod
from tests.support.controlplane import HOW_TO_GET, ControlPlane, control_plane_in_memory, missing_binaries
from tests.support.installation import eventually

OPTIONS = (
    "--runtime-config=scheduling.k8s.io/v1=false",
    "--disable-admission-plugins=Priority,PodGroupProtection,PodGroupWorkloadExists,JobValidation",
    "--feature-gates=GenericWorkload=true",
)


def schema(version: str, kind: str, *, gang: str) -> dict[str, object]:
    """``gang`` is what a gang's policy counts."""
    spec = {
        "workloadRef": {"workloadName": "string", "templateName": "string"},
        "parentCompositePodGroupName": "string",
        "schedulingPolicy": {"basic": "any", "gang": {gang: "integer"}},
        "schedulingConstraints": {"topology": [{"key": "string"}]},
    }
    api_version = f"scheduling.k8s.io/{version}"
    return {"apiVersion": api_version, "kind": kind, "plural": f"{kind.lower()}s", "fields": {"spec": spec}}


# PodGroups are beta in 1.37, composite ones alpha.
SCHEMAS = (
    schema("v1beta1", "PodGroup", gang="minCount"),
    schema("v1alpha3", "CompositePodGroup", gang="minGroupCount"),
)
BLOCKS = {"n1": "small", "n2": "small", "n3": "large", "n4": "large", "n5": "large", "n6": "large"}


@pytest.fixture(scope="module")
def next_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if missing := missing_binaries():
        pytest.skip(f"{', '.join(missing)} not found: {HOW_TO_GET}")
    with control_plane_in_memory(tmp_path_factory.mktemp("next"), apiserver_options=OPTIONS) as plane:
        yield plane


@pytest.fixture
async def cluster(next_plane: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(kubeconfig=next_plane.kubeconfig) as client:
        await install_crds(client)
        await crds.install(client, *map(workload_crds.definition, SCHEMAS))
        yield client


async def make(client: Client, version: str, kind: str, name: str, *, parent: str = "", **spec: Object) -> None:
    resource = KINDS[f"scheduling.k8s.io/{version}", kind]
    above = {"parentCompositePodGroupName": parent} if parent else {}
    body = {"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": name}, "spec": spec | above}
    await client.create(resource, body, namespace=TEAM)


async def make_pods(client: Client, gang: str, *, count: int) -> None:
    for index in range(count):
        body = pod(f"{gang}-{index}", annotations={"warmset.dev/model": "llama"}, gpus=8)
        body["spec"]["schedulingGroup"] = {"podGroupName": gang}
        made = await client.create(POD, body, namespace=TEAM)
        assert made["spec"]["schedulingGroup"] == {"podGroupName": gang}


async def planned(client: Client) -> dict[str, list[str]]:
    """The nodes of each group's plan."""
    found: dict[str, list[str]] = {}
    for name in BLOCKS:
        for group in await groups_on(client, name):
            found.setdefault(group, []).append(name)
    return found


async def test_gangs_below_one_composite_go_together_within_the_domain_that_it_asks_for(cluster: Client) -> None:
    """Prefill and decode of two pods each: the smaller block has room for the one that comes first."""
    async with controlling(cluster):
        await make_model(cluster)
        for name, block in BLOCKS.items():
            await make_node(cluster, name, labels={"block": block})
            await agent_says(cluster, name)
        level = {"topology": [{"key": "block"}]}
        await make(cluster, "v1alpha3", "CompositePodGroup", "service", schedulingConstraints=level)
        for gang in ("prefill", "decode"):
            await make(cluster, "v1alpha3", "CompositePodGroup", f"{gang}-replica", parent="service")
            policy = {"gang": {"minCount": 2}}
            await make(cluster, "v1beta1", "PodGroup", gang, parent=f"{gang}-replica", schedulingPolicy=policy)
            await make_pods(cluster, gang, count=2)

        async def apart() -> bool:
            parts = [{BLOCKS[name] for name in names} for names in (await planned(cluster)).values() if len(names) == 2]
            return parts == [{"large"}, {"large"}]

        await eventually(apart, what="two nodes for each gang, all in the block that has room for both")
        first, second = (await planned(cluster)).values()
        for name in first:
            await agent_says(cluster, name, {"llama": "Ready"})

        async def waits() -> bool:
            return any(event["reason"] == "PartsWarming" for event in await cluster.list(EVENT, namespace=TEAM))

        await eventually(waits, what="the warm gang waiting for the other")
        assert all(is_gated(pod) for pod in await cluster.list(POD, namespace=TEAM))
        for name in second:
            await agent_says(cluster, name, {"llama": "Ready"})

        async def bound() -> bool:
            return {node(pod) for pod in await cluster.list(POD, namespace=TEAM)} == {*first, *second}

        await eventually(bound, what="every pod on a warm node")
