"""Who places a pod, and whose annotations it inherits: both apart from its group."""

from __future__ import annotations

from typing import Any

import pytest

from api import keys
from controller.admission.inherited import inherited
from controller.groups import Owner
from controller.groups.placer import placer
from tests.support.workloads import load


@pytest.mark.parametrize(
    ("file", "pod", "expected"),
    [
        ("lws", "vllm-0", "default-scheduler"),
        ("kueue", "sample-0", "kueue"),
        ("volcano", "master-0", "volcano"),
        ("kai", "tune-0", "kai-scheduler"),
        ("grove", "pleader-0", "grove"),
        ("podgroup", "llm-0", "default-scheduler"),
    ],
)
def test_who_chooses_a_pods_node(file: str, pod: str, expected: str) -> None:
    assert placer(load(file).pods[pod]) == expected


def test_kueue_that_only_admits_leaves_the_placing_to_the_scheduler() -> None:
    labels = {"kueue.x-k8s.io/managed": "true", "kueue.x-k8s.io/podset": "main"}
    gates = [{"name": "kueue.x-k8s.io/admission"}]
    assert placer({"metadata": {"labels": labels}, "spec": {"schedulingGates": gates}}) == "default-scheduler"


def test_kueues_choice_counts_still_when_its_gate_is_gone() -> None:
    annotations = {"kueue.x-k8s.io/podset-preferred-topology": "rack"}
    assert placer({"metadata": {"annotations": annotations}, "spec": {}}) == "kueue"


# -- inherited annotations --------------------------------------------------------------------------------------


def of(file: str, uid: str) -> dict[str, str]:
    workloads = load(file)
    return inherited(workloads.pods[uid], owners=workloads.chain(workloads.pods[uid]))


def test_a_workspaces_pods_take_its_annotations() -> None:
    assert of("kaito", "falcon-1") == {
        keys.MODEL: "falcon",
        keys.MAX_HOLD: "10m",
        keys.PATH: "/opt/kaito/models/falcon-40b",
    }


def test_an_llm_inference_services_pods_take_its_annotations_through_the_leader_worker_set() -> None:
    assert of("llminferenceservice", "leader") == {keys.MODEL: "llama"}


def test_a_pod_that_asks_by_itself_inherits_nothing() -> None:
    assert of("trainjob", "node-0") == {}


def test_a_train_jobs_initializers_inherit_nothing() -> None:
    assert of("trainjob", "initializer-0") == {}


def test_the_nearest_owner_that_asks_is_taken_whole() -> None:
    near = owner({keys.MODEL: "near"})
    far = owner({keys.MODEL: "far", keys.PATH: "/weights"})
    assert inherited(pod(), owners=(owner({keys.PATH: "/other"}), near, far)) == {keys.MODEL: "near"}


def test_the_index_of_one_pod_is_inherited_by_none() -> None:
    above = owner({keys.MODEL: "m", keys.WORKER_INDEX: "0", keys.GROUP: "g"})
    assert inherited(pod(), owners=(above,)) == {keys.MODEL: "m"}


def owner(annotations: dict[str, str]) -> Owner:
    return Owner(api_version="example.com/v1", kind="App", name="a", uid="a", annotations=annotations)


def pod() -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "spec": {}}
