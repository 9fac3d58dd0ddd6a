"""Which topology levels are gone by: presets, and what other schedulers' objects say."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import InvalidRequest
from controller.cluster.flavors import is_of_any, topology_flavors
from controller.cluster.levels import PRESETS, discover, expand
from kube.client import ApiError
from kube.resources import Resource


def test_a_preset_stands_for_its_platforms_labels_beside_others() -> None:
    gke = ("cloud.google.com/gce-topology-block", "cloud.google.com/gce-topology-subblock")
    assert expand(["topology.kubernetes.io/zone", "preset:gke"]) == ("topology.kubernetes.io/zone", *gke)
    assert expand(["rack", "rack"]) == ("rack",)


def test_an_unknown_preset_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        expand(["preset:nosuch"])
    assert all(preset in str(refused.value.hint) for preset in PRESETS)


class Cluster:
    """Objects by the kind's API version and name; every other kind is not installed."""

    def __init__(self, objects: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
        self._objects = objects

    async def list(self, resource: Resource) -> list[dict[str, Any]]:
        found = self._objects.get((resource.api_version, resource.kind))
        if found is None:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return found


FLAVOR = ("kueue.x-k8s.io/v1beta1", "ResourceFlavor")


async def test_the_nodes_of_flavors_with_a_topology_are_known() -> None:
    flavors = [
        {"metadata": {"name": "gpu"}, "spec": {"nodeLabels": {"pool": "gpu"}, "topologyName": "default"}},
        {"metadata": {"name": "cpu"}, "spec": {"nodeLabels": {"pool": "cpu"}}},
    ]
    found = await topology_flavors(Cluster({FLAVOR: flavors}))  # type: ignore[arg-type]
    assert is_of_any({"pool": "gpu", "zone": "a"}, found)
    assert not is_of_any({"pool": "cpu"}, found)
    assert not is_of_any({}, await topology_flavors(Cluster({})))  # type: ignore[arg-type]


def topology(*labels: str, name: str = "default") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"levels": [{"nodeLabel": label} for label in labels]}}


BINDING = {
    "metadata": {"name": "grove-topology"},
    "spec": {
        "levels": [
            {"domain": "zone", "key": "topology.kubernetes.io/zone"},
            {"domain": "rack", "key": "example.com/rack"},
        ],
        "schedulerTopologyBindings": [{"schedulerName": "kai-scheduler", "topologyReference": "grove-topology"}],
    },
}
KUEUE, KUEUE_OLD = ("kueue.x-k8s.io/v1beta2", "Topology"), ("kueue.x-k8s.io/v1beta1", "Topology")
GROVE, KAI = ("grove.io/v1alpha1", "ClusterTopologyBinding"), ("kai.scheduler/v1alpha1", "Topology")


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ({}, ()),
        ({KUEUE: [topology("block", "rack", "kubernetes.io/hostname")]}, ("block", "rack")),
        ({KUEUE_OLD: [topology("block")]}, ("block",)),
        ({GROVE: [BINDING]}, ("topology.kubernetes.io/zone", "example.com/rack")),
        ({KAI: [topology("zone", "tier-1")]}, ("zone", "tier-1")),
        ({KUEUE: [topology("kubernetes.io/hostname")], KAI: [topology("zone")]}, ("zone",)),
        ({KUEUE: [topology("a", name="a"), topology("mine", name="default")]}, ("mine",)),
        ({KUEUE: [topology("b", name="b"), topology("a", name="a")]}, ("a",)),
    ],
)
async def test_levels_are_those_that_another_scheduler_goes_by(objects: Any, expected: tuple[str, ...]) -> None:
    assert await discover(Cluster(objects)) == expected  # type: ignore[arg-type]


async def test_an_api_server_in_trouble_is_no_cluster_without_levels() -> None:
    class InTrouble:
        async def list(self, resource: Resource) -> list[dict[str, Any]]:
            raise ApiError(500, "InternalError", "etcd")

    with pytest.raises(ApiError):
        await discover(InTrouble())  # type: ignore[arg-type]
