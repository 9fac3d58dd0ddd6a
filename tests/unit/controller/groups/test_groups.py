"""Which group a pod belongs to, from objects as the workload controllers make them."""

from __future__ import annotations

from typing import Any

from controller.groups import Owner, resolve

LWS = "leaderworkerset.sigs.k8s.io/"
# Leader pod's chain and worker pod's chain, nearest owner first (LWS: StatefulSet -> leader Pod -> StatefulSet -> LWS).
LEADER_SET = Owner(api_version="apps/v1", kind="StatefulSet", name="vllm", uid="sts-uid")
TOP = Owner(api_version="leaderworkerset.x-k8s.io/v1", kind="LeaderWorkerSet", name="vllm", uid="lws-uid")
WORKER_CHAIN = (
    Owner(api_version="apps/v1", kind="StatefulSet", name="vllm-0", uid="worker-sts-uid"),
    Owner(api_version="v1", kind="Pod", name="vllm-0", uid="leader-uid"),
    LEADER_SET,
    TOP,
)


def leader(**labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "vllm-0",
            "namespace": "default",
            "uid": "leader-uid",
            "labels": {LWS + "name": "vllm", LWS + "worker-index": "0", LWS + "template-revision-hash": "6c9f7b8d5"}
            | {LWS + name: value for name, value in labels.items()},
            "annotations": {LWS + "size": "4"},
        },
        "spec": {},
    }


def worker(index: int) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"vllm-0-{index}",
            "namespace": "default",
            "uid": f"worker-{index}-uid",
            "labels": {
                LWS + "name": "vllm",
                LWS + "group-index": "0",
                LWS + "group-key": "3026934fa959105a39223221cf76941a46fb01bb",
                LWS + "template-revision-hash": "6c9f7b8d5",
            },
            "annotations": {LWS + "size": "4", LWS + "leader-name": "vllm-0"},
        },
        "spec": {},
    }


def test_leader_and_workers_of_an_lws_replica_are_one_group() -> None:
    ids = {
        resolve(leader(), owners=(LEADER_SET, TOP)).id,
        *(resolve(worker(i), owners=WORKER_CHAIN).id for i in (1, 2, 3)),
    }
    assert len(ids) == 1


def test_the_group_key_is_derived_where_the_lws_webhook_has_not_run_yet() -> None:
    assert resolve(leader()).key == "3026934fa959105a39223221cf76941a46fb01bb"


def test_the_namespace_of_the_admission_request_stands_in_for_a_missing_one() -> None:
    pod = leader()
    del pod["metadata"]["namespace"]
    assert resolve(pod, namespace="default").key == "3026934fa959105a39223221cf76941a46fb01bb"


def test_a_workers_index_is_read_from_its_name_where_the_label_is_missing() -> None:
    member = resolve(worker(2), owners=WORKER_CHAIN)
    assert (member.index, member.leader, member.size) == (2, False, 4)


def test_a_recreated_group_has_the_same_key_and_another_identity() -> None:
    again = leader()
    again["metadata"]["uid"] = "another-leader-uid"
    assert resolve(again).key == resolve(leader()).key
    assert resolve(again).id != resolve(leader()).id


def test_a_new_revision_is_another_group() -> None:
    assert resolve(leader(**{"template-revision-hash": "77777"})).id != resolve(leader()).id


def test_exclusive_topology_is_a_level_that_the_group_itself_asked_for() -> None:
    pod = leader()
    pod["metadata"]["annotations"][LWS + "exclusive-topology"] = "cloud.google.com/gke-nodepool"
    member = resolve(pod)
    assert (member.topology_key, member.exclusive) == ("cloud.google.com/gke-nodepool", True)


def test_the_users_own_annotations_win_over_every_workload_api() -> None:
    pod = leader()
    pod["metadata"]["annotations"] |= {
        "warmset.dev/group": "mine",
        "warmset.dev/group-size": "2",
        "warmset.dev/worker-index": "1",
    }
    member = resolve(pod)
    assert (member.system, member.key, member.size, member.index, member.leader) == ("annotation", "mine", 2, 1, False)


def test_a_pod_nobody_claims_is_a_group_of_one() -> None:
    pod = {"metadata": {"name": "web", "namespace": "team", "uid": "1"}, "spec": {}}
    member = resolve(pod)
    assert (member.system, member.size, member.leader) == ("pod", 1, True)


def test_a_size_that_is_no_number_counts_as_one() -> None:
    pod = leader()
    pod["metadata"]["annotations"][LWS + "size"] = "many"
    assert resolve(pod).size == 1
