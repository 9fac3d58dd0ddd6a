"""KServe's storage-initializer does not download what is mounted in its place."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from api import keys
from api.errors import InvalidRequest
from api.fields import ObjectMeta
from api.resources import Model, ModelSpec, ModelStatus
from controller.admission.mutate import mutate
from tests.support.jsonpatch import apply

MODELS = {
    "team/llama": Model(
        metadata=ObjectMeta(name="llama", namespace="team", generation=1),
        spec=ModelSpec(source="oci://r.example/m/llama:v1"),
        status=ModelStatus(observed_generation=1, revision="sha256:" + "a" * 64),
    )
}


def pod(path: str = "/mnt/models") -> dict[str, Any]:
    """As KServe's webhook leaves it (pkg/webhook/admission/pod/storage_initializer_injector.go)."""
    mount = {"name": "kserve-provision-location", "mountPath": "/mnt/models"}
    return {
        "metadata": {"annotations": {keys.MODEL: "llama", keys.PATH: path}},
        "spec": {
            "initContainers": [
                {"name": "theirs", "image": "init:1"},
                {"name": "storage-initializer", "image": "kserve/storage-initializer:v1", "volumeMounts": [mount]},
            ],
            "containers": [
                {"name": "kserve-container", "image": "engine:1", "volumeMounts": [mount | {"readOnly": True}]},
                {"name": "queue-proxy", "image": "queue:1"},
            ],
            "volumes": [{"name": "kserve-provision-location", "emptyDir": {}}, {"name": "own", "emptyDir": {}}],
        },
    }


def mutated(asking: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = apply(copy.deepcopy(asking), mutate(asking, namespace="team", models=MODELS))
    return result


def test_the_initializer_is_taken_out_and_the_weights_are_mounted_in_its_place() -> None:
    spec = mutated(pod())["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["theirs"]
    assert [volume["name"].partition("-")[0] for volume in spec["volumes"]] == ["own", "warmset"]
    for container in (*spec["initContainers"], *spec["containers"]):
        (mount,) = container["volumeMounts"]
        assert (mount["mountPath"], mount["name"].partition("-")[0]) == ("/mnt/models", "warmset")


def test_it_stays_out_when_kserve_puts_it_back() -> None:
    once = mutated(pod())
    again = copy.deepcopy(once)
    again["spec"]["initContainers"].append(pod()["spec"]["initContainers"][1])
    again["spec"]["volumes"].append({"name": "kserve-provision-location", "emptyDir": {}})
    assert mutated(again) == once
    assert mutated(once) == once


def test_a_download_to_another_place_is_left_alone() -> None:
    spec = mutated(pod(path="/weights"))["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["theirs", "storage-initializer"]


def test_another_volume_at_the_place_is_still_refused() -> None:
    asking = pod()
    asking["spec"]["containers"][1]["volumeMounts"] = [{"name": "own", "mountPath": "/mnt/models"}]
    with pytest.raises(InvalidRequest):
        mutated(asking)
