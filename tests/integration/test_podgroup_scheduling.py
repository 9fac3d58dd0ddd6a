"""Kubernetes' own PodGroups, alpha in 1.36, on an API server and a scheduler that have them on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from controller.objects.pods import is_gated
from kube.client import Client, Object
from kube.resources import POD
from tests.support.chart import resource_of
from tests.support.control import TEAM, agent_says, controlling, install_crds, make_model, make_node, wanted_on
from tests.support.controlplane import HOW_TO_GET, Alpha, ControlPlane, control_plane_in_memory, missing_binaries
from tests.support.installation import ensure_namespace, eventually
from tests.support.workload_crds import dry_run

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "podgroup.yaml"
ALPHA = Alpha(
    gates=("GenericWorkload", "GangScheduling", "TopologyAwareWorkloadScheduling"),
    versions=("scheduling.k8s.io/v1alpha2",),
)
RACK = "topology.kubernetes.io/rack"


@pytest.fixture(scope="module")
def alpha_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if missing := missing_binaries():
        pytest.skip(f"{', '.join(missing)} not found: {HOW_TO_GET}")
    with control_plane_in_memory(tmp_path_factory.mktemp("alpha"), alpha=ALPHA) as plane:
        yield plane


@pytest.fixture
async def alpha(alpha_plane: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(kubeconfig=alpha_plane.kubeconfig) as client:
        await install_crds(client)
        yield client


def example(*, namespace: str) -> list[Object]:
    found = list(yaml.safe_load_all(EXAMPLE.read_text()))
    return [obj | {"metadata": obj["metadata"] | {"namespace": namespace}} for obj in found]


async def test_the_example_is_taken_as_it_stands(alpha: Client) -> None:
    await ensure_namespace(alpha, "team-a")
    for obj in example(namespace="team-a"):
        await dry_run(alpha, resource_of(obj), obj, namespace="team-a")


async def test_a_gang_waits_for_its_nodes_and_lands_on_them_in_one_rack(alpha: Client) -> None:
    group, *pods = example(namespace=TEAM)
    async with controlling(alpha):
        await make_model(alpha, "llama-3-70b")
        for name, rack in (("n0", "a"), ("n1", "b"), ("n2", "b"), ("n3", "a")):
            await make_node(alpha, name, labels={RACK: rack})
            await agent_says(alpha, name)
        await agent_says(alpha, "n1", {"llama-3-70b": "Ready"})
        await alpha.create(resource_of(group), group, namespace=TEAM)
        for pod in pods:
            made = await alpha.create(POD, pod, namespace=TEAM)
            assert made["spec"]["schedulingGroup"] == pod["spec"]["schedulingGroup"]

        async def planned() -> bool:
            return bool(await wanted_on(alpha, "n2"))

        await eventually(planned, what="the other node of the rack")
        assert all(is_gated(pod) for pod in await alpha.list(POD, namespace=TEAM))
        await agent_says(alpha, "n2", {"llama-3-70b": "Ready"})

        async def bound() -> bool:
            return {p["spec"].get("nodeName") for p in await alpha.list(POD, namespace=TEAM)} == {"n1", "n2"}

        await eventually(bound, what="both pods on the warm nodes")
