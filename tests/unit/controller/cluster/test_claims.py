"""Pods that mount a model by a claim are seen on their node, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import pytest

from api import keys
from controller.cluster.claims import keep_volume, shown, trim_volume
from controller.cluster.world import World, keep_pod, trim_pod
from controller.objects.pods import MountedModel

LLAMA = MountedModel("team-a/llama")
Object = dict[str, Any]


def volume(
    *, claim: str = "llama", driver: str = keys.CSI_DRIVER, phase: str = "Bound", model: str = LLAMA.model, **more: str
) -> Object:
    attributes = {keys.ATTRIBUTE_MODEL: model} | more
    return {
        "metadata": {"name": "team-a-llama", "resourceVersion": "1", "annotations": {"a": "b"}},
        "spec": {
            "csi": {"driver": driver, "volumeHandle": "llama", "volumeAttributes": attributes},
            "claimRef": {"namespace": "team-a", "name": claim, "uid": "u"},
        },
        "status": {"phase": phase},
    }


def pod(*, claim: str = "llama", namespace: str = "team-a", on: str = "n1") -> Object:
    """As KServe makes it for ``pvc://``: the claim says no readOnly, the mount does."""
    claimed = {"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": claim}}
    mount = {"name": "kserve-pvc-source", "mountPath": "/mnt/models", "readOnly": True}
    return {
        "metadata": {"namespace": namespace, "name": "p", "uid": "p", "resourceVersion": "1", "labels": {"a": "b"}},
        "spec": {
            "nodeName": on,
            "containers": [{"name": "engine", "volumeMounts": [mount]}],
            "volumes": [claimed, {"name": "tmp", "emptyDir": {}}],
        },
        "status": {"phase": "Running"},
    }


def see(world: World, body: Object, old: Object | None = None) -> frozenset[str]:
    """As the reflector hands it on; it keeps a pod whatever its claim is, for the volume may come later."""
    assert keep_pod(body)
    return world.on_pod((body["metadata"]["namespace"], "p"), old, trim_pod(body))


def mounted(world: World, node: str = "n1") -> list[MountedModel]:
    return [model for mounting in world.mounting_on(node) for model in mounting.models]


@pytest.mark.parametrize("volume_first", [True, False])
def test_a_pod_with_the_claim_of_a_bound_volume_mounts_its_model(volume_first: bool) -> None:
    world = World()
    bound = trim_volume(volume())
    if volume_first:
        assert world.claims.on_volume(None, bound) == frozenset()
        assert see(world, pod()) == {"n1"}
    else:
        assert see(world, pod()) == frozenset()
        assert world.claims.on_volume(None, bound) == {"n1"}
    assert mounted(world) == [LLAMA]
    assert world.claims.nodes_with(LLAMA.model) == {"n1"}


def test_a_volume_may_fix_the_revision() -> None:
    fixed = shown(volume(**{keys.ATTRIBUTE_REVISION: "sha256:1"}))
    assert fixed == (("team-a", "llama"), MountedModel(LLAMA.model, "sha256:1"))


@pytest.mark.parametrize(
    "other",
    [
        volume(phase="Available"),
        volume(phase="Released"),  # its claim is gone; another of the same name is none of its own
        volume(driver="csi.example.com"),
        volume(model="llama"),
        {"metadata": {"name": "v"}, "spec": {"nfs": {}}, "status": {"phase": "Bound"}},
    ],
    ids=["not bound yet", "released", "of another driver", "no namespace", "of no driver"],
)
def test_other_volumes_show_nothing(other: Object) -> None:
    assert not keep_volume(other)


@pytest.mark.parametrize("other", [pod(claim="data"), pod(namespace="team-b")], ids=["claim", "namespace"])
def test_a_claim_of_another_name_or_namespace_is_another_claim(other: Object) -> None:
    world = World()
    world.claims.on_volume(None, trim_volume(volume()))
    assert see(world, other) == frozenset()
    assert mounted(world) == []


def test_it_is_over_when_the_volume_is_released_or_the_pod_is_gone() -> None:
    world, bound = World(), trim_volume(volume())
    see(world, pod())
    world.claims.on_volume(None, bound)
    assert world.claims.on_volume(bound, None) == {"n1"}  # not kept any more
    assert mounted(world) == []
    world.claims.on_volume(None, bound)
    assert world.on_pod(("team-a", "p"), trim_pod(pod()), None) == {"n1"}
    assert mounted(world) == []


def test_a_pod_that_is_bound_later_is_seen_from_then_on() -> None:
    world = World()
    world.claims.on_volume(None, trim_volume(volume()))
    assert not keep_pod(pod(on=""))
    assert see(world, pod()) == {"n1"}


def test_of_a_foreign_pod_only_what_is_needed_stays() -> None:
    kept = trim_pod(pod())
    assert kept["spec"].keys() == {"nodeName", "volumes"}
    assert [volume["name"] for volume in kept["spec"]["volumes"]] == ["kserve-pvc-source"]
    assert "labels" not in kept["metadata"]
