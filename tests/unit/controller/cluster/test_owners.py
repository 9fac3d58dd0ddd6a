"""Walking up a pod's owners: what is read, how often, and what stands in the way."""

from __future__ import annotations

from typing import Any, cast

import pytest

from controller.cluster import owners
from controller.cluster.owners import MOST_STEPS, Owners, top
from kube.client import ApiError, Client
from kube.resources import Resource
from tests.support.workloads import load


class Cluster:
    """The objects of one file, as an API server has them; counts the reads."""

    def __init__(self, file: str) -> None:
        self.workloads = load(file)
        self.reads: list[str] = []
        self.refuse: dict[str, int] = {}  # kind: status

    async def get(self, resource: Resource, name: str, *, namespace: str) -> dict[str, Any]:
        self.reads.append(f"{resource.kind}/{name}")
        if resource.kind in self.refuse:
            raise ApiError(self.refuse[resource.kind], "Refused", "refused")
        pods = ({"apiVersion": "v1", "kind": "Pod"} | pod for pod in self.workloads.pods.values())
        for obj in (*self.workloads.objects.values(), *pods):
            found = obj["apiVersion"], obj["kind"], obj["metadata"]["name"], obj["metadata"]["namespace"]
            if found == (resource.api_version, resource.kind, name, namespace):
                return obj
        raise ApiError(404, "NotFound", "not found")


def walking(file: str) -> tuple[Owners, Cluster]:
    cluster = Cluster(file)
    return Owners(cast("Client", cluster)), cluster


async def test_the_chain_ends_at_what_the_user_wrote() -> None:
    walk, cluster = walking("lws")
    chain = await walk.chain(cluster.workloads.pods["vllm-0-2"])
    assert [owner.kind for owner in chain] == ["StatefulSet", "Pod", "StatefulSet", "LeaderWorkerSet"]
    assert top(cluster.workloads.pods["vllm-0-2"], chain).name == "vllm"


@pytest.mark.parametrize("file", ["disaggregatedset", "grove", "knative", "kuberay", "mpijob", "trainjob", "volcano"])
async def test_every_kind_on_the_way_is_known(file: str) -> None:
    walk, cluster = walking(file)
    for pod in cluster.workloads.pods.values():
        assert await walk.chain(pod) == cluster.workloads.chain(pod)


async def test_pods_of_a_group_share_what_was_read() -> None:
    walk, cluster = walking("kaito")
    for pod in cluster.workloads.pods.values():
        await walk.chain(pod)
    assert cluster.reads == ["StatefulSet/falcon", "Workspace/falcon"]


async def test_an_owner_is_read_again_after_a_while_since_sizes_change(monkeypatch: pytest.MonkeyPatch) -> None:
    walk, cluster = walking("statefulset")
    pod = cluster.workloads.pods["gang-0"]
    await walk.chain(pod)
    cluster.workloads.objects["gang"]["spec"]["replicas"] = 5
    monkeypatch.setattr(owners, "FRESH_S", 0.0)
    (owner,) = await walk.chain(pod)
    assert owner.spec["replicas"] == 5


@pytest.mark.parametrize("status", [403, 404])
async def test_an_owner_that_cannot_be_read_ends_the_chain_and_is_named_by_its_reference(status: int) -> None:
    walk, cluster = walking("kaito")
    cluster.refuse["StatefulSet"] = status
    (owner,) = await walk.chain(cluster.workloads.pods["falcon-0"])
    assert (owner.kind, owner.name, owner.spec) == ("StatefulSet", "falcon", {})


async def test_an_owner_of_that_name_that_was_made_anew_is_another() -> None:
    walk, cluster = walking("kaito")
    cluster.workloads.objects["statefulset"]["metadata"]["uid"] = "another"
    (owner,) = await walk.chain(cluster.workloads.pods["falcon-0"])
    assert owner.uid == "statefulset"


async def test_a_server_that_cannot_answer_is_no_answer() -> None:
    walk, cluster = walking("kaito")
    cluster.refuse["StatefulSet"] = 500
    with pytest.raises(ApiError):
        await walk.chain(cluster.workloads.pods["falcon-0"])


async def test_owners_that_own_each_other_end_somewhere() -> None:
    walk, cluster = walking("kaito")
    references = cluster.workloads.pods["falcon-0"]["metadata"]["ownerReferences"]
    cluster.workloads.objects["statefulset"]["metadata"]["ownerReferences"] = references
    assert len(await walk.chain(cluster.workloads.pods["falcon-0"])) == MOST_STEPS


async def test_a_pod_group_is_read_in_the_version_that_the_cluster_has() -> None:
    walk, cluster = walking("podgroup")
    gang = await walk.gang(cluster.workloads.pods["llm-0"])
    assert gang is not None
    assert (gang.api_version, gang.uid) == ("scheduling.k8s.io/v1alpha2", "podgroup")
    reads = len(cluster.reads)
    await walk.gang(cluster.workloads.pods["llm-1"])
    assert len(cluster.reads) == reads


async def test_a_pod_group_that_comes_after_its_pods_is_found_then() -> None:
    walk, cluster = walking("kai")
    pod, later = cluster.workloads.pods["tune-0"], cluster.workloads.objects.pop("gang")
    assert await walk.gang(pod) is None
    cluster.workloads.objects["gang"] = later
    assert await walk.gang(pod) is not None


async def test_a_pod_that_names_no_pod_group_costs_nothing() -> None:
    walk, cluster = walking("deployment")
    assert await walk.gang(cluster.workloads.pods["one"]) is None
    assert cluster.reads == []


BLOCK = {"topology": [{"key": "block"}]}


@pytest.mark.parametrize("version", ["scheduling.k8s.io/v1beta1", "scheduling.k8s.io/v1alpha3"])
async def test_a_gang_knows_the_composites_above_it_in_whichever_version_they_are(version: str) -> None:
    """1.37: PodGroup (v1beta1), replica, service; each names the one above it."""
    walk, cluster = walking("podgroup")
    for uid, above in (("replica", "service"), ("service", None)):
        spec = {"parentCompositePodGroupName": above} if above else {"schedulingConstraints": BLOCK}
        meta = {"name": uid, "namespace": "team", "uid": uid}
        cluster.workloads.objects[uid] = {
            "apiVersion": version,
            "kind": "CompositePodGroup",
            "metadata": meta,
            "spec": spec,
        }
    gang = cluster.workloads.objects["podgroup"]
    gang["apiVersion"] = "scheduling.k8s.io/v1beta1"
    gang["spec"]["parentCompositePodGroupName"] = "replica"
    found = await walk.gang(cluster.workloads.pods["llm-0"])
    assert found is not None
    assert [composite["name"] for composite in found.spec["compositesAbove"]] == ["replica", "service"]
    assert found.spec["compositesAbove"][1]["schedulingConstraints"] == BLOCK
