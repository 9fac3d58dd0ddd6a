"""Which pods each workload API makes a group of, and how large it says that group is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.groups import GroupMember
from controller.groups.owner import of_object
from controller.groups.parts import MOST_PODS, absent
from controller.planning.fitting import shape
from tests.support.workloads import FILES, load

# File, the pods (by uid) that are one group, the API that says so, and the declared size.
GROUPS = [
    ("lws", ["vllm-0", "vllm-0-1", "vllm-0-2", "vllm-0-3"], "lws", 4),
    ("lws", ["vllm-1"], "lws", 4),
    ("lws-subgroups", ["sub-0-1", "sub-0-4"], "lws", 4),
    ("lws-subgroups", ["sub-0-5", "sub-0-8"], "lws", 4),
    ("disaggregatedset", ["leader"], "lws", 2),
    ("statefulset", ["gang-0", "gang-2"], "statefulset", 3),
    ("statefulset", ["web-0"], "statefulset", 1),
    ("statefulset", ["web-1"], "statefulset", 1),
    ("deployment", ["one"], "deployment", 1),
    ("deployment", ["two"], "deployment", 1),
    ("daemonset", ["one"], "daemonset", 1),
    ("job", ["train-0", "train-1"], "job", 3),
    ("job", ["evaluate-1"], "job", 1),
    ("job", ["evaluate-2"], "job", 1),
    ("knative", ["one"], "knative", 1),
    ("knative", ["two", "three"], "annotation", 2),
    ("modelmesh", ["one"], "modelmesh", 1),
    ("kaito", ["falcon-0", "falcon-1"], "kaito", 2),
    ("kserve", ["small-1"], "kserve", 1),
    ("kserve", ["head-1", "worker-1", "worker-2"], "kserve", 3),
    ("llminferenceservice", ["leader"], "lws", 2),
    ("llminferenceservice", ["one"], "kserve", 1),
    ("kuberay", ["head", "gpu-0", "gpu-1"], "kuberay", 3),
    ("kuberay", ["slice-0", "slice-1"], "kuberay", 2),
    ("kuberay", ["elastic-0"], "kuberay", 1),
    ("jobset", ["driver-0"], "jobset", 1),
    ("jobset", ["workers-0-0", "workers-0-1"], "jobset", 2),
    ("trainjob", ["node-0", "node-1"], "jobset", 2),
    ("trainjob", ["initializer-0"], "jobset", 1),
    ("mpijob", ["llm-worker-0", "llm-worker-1", "llm-launcher-0"], "mpijob", 3),
    ("mpijob", ["late-worker-0", "late-worker-1"], "mpijob", 2),
    ("mpijob", ["late-launcher-0"], "mpijob", 1),
    ("podgroup", ["llm-0", "llm-1"], "podgroup", 4),
    ("podgroup", ["loose-0"], "pod", 1),
    ("kueue", ["sample-0", "sample-1"], "kueue", 2),
    ("volcano", ["master-0", "worker-1"], "volcano", 3),
    ("volcano", ["chat-0"], "deployment", 1),
    ("volcano", ["mine-0"], "volcano", 2),
    ("kai", ["tune-0", "tune-1"], "kai", 2),
    ("kai", ["alone-0"], "pod", 1),
    ("grove", ["pleader-0", "pworker-0", "pworker-1"], "grove", 3),
    ("grove", ["frontend-0"], "grove", 2),
    ("dra", ["a-0", "a-1"], "dra", 2),
    ("dra", ["unsized"], "pod", 1),
    ("dra", ["own"], "pod", 1),
]


@pytest.mark.parametrize(("file", "pods", "system", "size"), GROUPS)
def test_the_pods_of_a_group_agree_on_it_and_on_its_declared_size(
    file: str, pods: list[str], system: str, size: int
) -> None:
    workloads = load(file)
    members = [workloads.member(uid) for uid in pods]
    assert len({member.id for member in members}) == 1
    assert {(member.system, member.size) for member in members} == {(system, size)}


@pytest.mark.parametrize("file", FILES)
def test_different_groups_have_different_identities(file: str) -> None:
    workloads = load(file)
    groups = [pods for name, pods, _, _ in GROUPS if name == file]
    assert sorted(uid for pods in groups for uid in pods) == sorted(workloads.pods)  # the table has them all
    assert len({workloads.member(pods[0]).id for pods in groups}) == len(groups)


# -- which pod of its group it is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "pod", "index", "leader"),
    [
        ("lws", "vllm-0", 0, True),
        ("lws", "vllm-0-3", 3, False),
        ("statefulset", "gang-2", 2, False),
        ("job", "train-1", 1, False),
        ("kaito", "falcon-0", 0, True),
        ("kserve", "head-1", 0, True),
        ("kserve", "worker-1", None, False),
        ("kuberay", "head", 0, True),
        ("kuberay", "gpu-1", None, False),
        ("kuberay", "slice-1", 1, False),
        ("jobset", "workers-0-1", 1, False),
        ("mpijob", "llm-worker-1", 1, False),
        ("mpijob", "llm-launcher-0", None, True),
        ("kueue", "sample-1", 1, False),
        ("volcano", "master-0", 0, True),
        ("volcano", "worker-1", 1, False),
        ("grove", "pleader-0", None, True),
        ("grove", "pworker-0", None, False),
        ("dra", "a-1", 1, False),
    ],
)
def test_a_pod_knows_its_index_and_who_leads(file: str, pod: str, index: int | None, leader: bool) -> None:
    member = load(file).member(pod)
    assert (member.index, member.leader) == (index, leader)


# -- levels that groups ask for ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "pod", "exclusive", "among"),
    [
        ("lws", "vllm-0", True, "team"),
        ("lws", "vllm-0-1", True, "team"),
        ("lws-subgroups", "sub-0-5", True, "team"),
        ("jobset", "workers-0-1", True, ""),  # against Jobs of every namespace
        ("podgroup", "llm-0", False, ""),
    ],
)
def test_a_topology_level_is_what_the_group_itself_asked_for(file: str, pod: str, exclusive: bool, among: str) -> None:
    member = load(file).member(pod)
    assert (member.topology_key, member.exclusive, member.exclusive_namespace) == ("rack", exclusive, among)


@pytest.mark.parametrize(
    ("pod", "changes", "expected"),
    [
        ("pworker-0", {}, ""),
        ("pworker-0", {"topologyConstraint": {"packConstraint": {"required": "zone", "preferred": "host"}}}, "zone"),
        (
            "pworker-0",
            {
                "topologyConstraint": {"packConstraint": {"required": "zone"}},
                "topologyConstraintGroupConfigs": [
                    {
                        "name": "dsr1-0-prefill-1",
                        "podGroupNames": ["dsr1-0-prefill-1-pleader", "dsr1-0-prefill-1-pworker"],
                        "topologyConstraint": {"packConstraint": {"required": "rack"}},
                    }
                ],
            },
            "rack",
        ),
        (
            "frontend-0",
            {
                "podgroups": [
                    {"name": "dsr1-0-frontend", "topologyConstraint": {"packConstraint": {"required": "rack"}}}
                ]
            },
            "rack",
        ),
    ],
)
def test_grove_says_by_its_pod_gang_within_what_it_packs(pod: str, changes: dict[str, Any], expected: str) -> None:
    """scheduler/api/core/v1alpha1/podgang.go: the keys are node labels already."""
    workloads = load("grove")
    name = workloads.pods[pod]["metadata"]["labels"]["grove.io/podgang"]
    meta = {"name": name, "namespace": "team", "uid": "podgang"}
    workloads.objects["podgang"] = {
        "apiVersion": "scheduler.grove.io/v1alpha1",
        "kind": "PodGang",
        "metadata": meta,
        "spec": changes,
    }
    member = workloads.member(pod)
    assert (member.topology_key, member.exclusive) == (expected, False)


def test_a_jobset_whose_nodes_are_named_by_labels_asks_for_no_level() -> None:
    workloads = load("jobset")
    workloads.pods["workers-0-0"]["metadata"]["annotations"]["alpha.jobset.sigs.k8s.io/node-selector"] = "true"
    assert workloads.member("workers-0-0").topology_key == ""


# -- one life of a group and the next ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "pod", "label"),
    [
        ("lws", "vllm-0", "leaderworkerset.sigs.k8s.io/template-revision-hash"),
        ("kserve", "head-1", "isvc.generation"),
        ("jobset", "workers-0-0", "jobset.sigs.k8s.io/restart-attempt"),
        ("jobset", "workers-0-0", "jobset.sigs.k8s.io/job-key"),
        ("kuberay", "slice-0", "ray.io/worker-group-replica-name"),
        ("grove", "pleader-0", "grove.io/podcliquescalinggroup-replica-index"),
    ],
)
def test_another_revision_attempt_or_replica_is_another_group(file: str, pod: str, label: str) -> None:
    before, workloads = load(file).member(pod), load(file)
    workloads.pods[pod]["metadata"]["labels"][label] = "9"
    assert workloads.member(pod).id != before.id


@pytest.mark.parametrize(
    ("file", "pod", "owner"),
    [
        ("statefulset", "gang-0", "gang"),
        ("job", "train-0", "train"),
        ("kaito", "falcon-0", "statefulset"),
        ("kuberay", "head", "cluster"),
        ("mpijob", "llm-worker-0", "llm"),
        ("volcano", "master-0", "vcjob"),
        ("grove", "pleader-0", "set"),
    ],
)
def test_an_owner_of_the_same_name_that_was_made_anew_has_another_group(file: str, pod: str, owner: str) -> None:
    before, workloads = load(file).member(pod), load(file)
    for obj in (*workloads.objects.values(), *workloads.pods.values()):
        for reference in obj["metadata"].get("ownerReferences") or ():
            reference["uid"] = (
                reference["uid"].replace(owner, "again") if reference["uid"] == owner else reference["uid"]
            )
    workloads.objects["again"] = workloads.objects.pop(owner)
    workloads.objects["again"]["metadata"]["uid"] = "again"
    assert workloads.member(pod).id != before.id


# -- sizes ------------------------------------------------------------------------------------------------------


def parts(member: GroupMember) -> dict[str, int]:
    return {part.role: part.count for part in member.parts}


def test_templates_that_do_not_ask_are_no_part_of_the_group() -> None:
    assert parts(load("kuberay").member("head")) == {"headgroup": 1, "gpu": 2}
    assert parts(load("volcano").member("master-0")) == {"master": 1, "worker": 2}
    assert parts(load("lws-subgroups").member("sub-0-1")) == {"worker": 4}


def test_where_no_template_asks_all_count_since_their_pods_inherited_the_annotation() -> None:
    assert parts(load("llminferenceservice").member("leader")) == {"leader": 1, "worker": 1}


@pytest.mark.parametrize(
    ("replicas", "least", "most", "suspended", "counted"),
    [(2, 0, 4, False, 2), (9, 0, 4, False, 4), (0, 1, 4, False, 1), (2, 0, 4, True, 0), (None, 0, None, False, 0)],
)
def test_a_ray_groups_replicas_are_clamped(
    replicas: int | None, least: int, most: int | None, suspended: bool, counted: int
) -> None:
    workloads = load("kuberay")
    group = workloads.objects["cluster"]["spec"]["workerGroupSpecs"][0]
    group |= {"replicas": replicas, "minReplicas": least, "maxReplicas": most, "suspend": suspended}
    assert workloads.member("head").size == 1 + counted


@pytest.mark.parametrize("file", FILES)
def test_pods_whose_owners_cannot_be_read_still_have_a_place(file: str) -> None:
    workloads = load(file)
    workloads.objects.clear()
    for uid in workloads.pods:
        assert workloads.member(uid).size >= 1


def test_a_group_rebuilt_at_an_older_revision_has_that_revisions_size() -> None:
    """A partition or a rollout under way: the LeaderWorkerSet declares the new size already."""
    workloads = load("lws")
    workloads.objects["lws"]["spec"]["leaderWorkerTemplate"]["size"] = 8
    assert workloads.member("vllm-0").size == 4


def test_surge_groups_are_groups_beside_those_that_they_will_replace() -> None:
    workloads = load("lws")
    surge = workloads.pods["vllm-1"]["metadata"]  # an index beyond the replicas, at the new revision
    surge["labels"]["leaderworkerset.sigs.k8s.io/template-revision-hash"] = "77777"
    assert workloads.member("vllm-1").id != workloads.member("vllm-0").id
    assert workloads.member("vllm-1").size == 4


def test_pods_that_do_not_exist_yet_look_like_their_like_or_their_template() -> None:
    workloads = load("mpijob")
    member = workloads.member("llm-worker-0")
    worker = workloads.pods["llm-worker-0"]
    (launcher, launchers), (other, workers) = absent(member, roles=["worker"], pods=[worker])
    assert (launchers, workers, other) == (1, 1, worker)
    assert launcher["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}}


def test_a_size_that_no_cluster_has_costs_no_more_than_the_largest() -> None:
    workloads = load("mpijob")
    workloads.objects["llm"]["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] = 1 << 31
    worker = workloads.pods["llm-worker-0"]
    _, (_, workers) = absent(workloads.member("llm-worker-0"), roles=["worker"], pods=[worker])
    assert workers == MOST_PODS - 1


JUNK = st.sampled_from([None, "", "x", -1, 1 << 40, 1.5, True, [], [None], {}, {"x": None}])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(file=st.sampled_from(FILES), draw=st.data())
def test_objects_that_are_not_as_their_api_says_still_give_every_pod_a_place(file: str, draw: st.DataObject) -> None:
    """A pod that could not be placed would be held for good."""
    workloads = load(file)
    for obj in workloads.objects.values():
        if obj.get("spec") and "." in obj["apiVersion"]:  # Kubernetes' own kinds are as it checked them
            spoil(obj["spec"], draw)
    for uid in workloads.pods:
        member = workloads.member(uid)
        assert member.size >= 1
        for pod, _ in absent(member, roles=[member.role], pods=[workloads.pods[uid]]):
            shape(pod)


def spoil(value: dict[str, Any], draw: st.DataObject) -> None:
    """Replace one field, at any depth."""
    name = draw.draw(st.sampled_from(sorted(value)))
    inner = value[name]
    if isinstance(inner, list) and inner and isinstance(inner[0], dict):
        inner = inner[0]
    if isinstance(inner, dict) and inner and draw.draw(st.booleans()):
        spoil(inner, draw)
    else:
        value[name] = draw.draw(JUNK)


@pytest.mark.parametrize(("succeeded", "size"), [(0, 3), (5, 3), (6, 2), (8, 1)])
def test_a_job_that_is_nearly_done_keeps_no_nodes_for_pods_that_it_will_not_make(succeeded: int, size: int) -> None:
    workloads = load("job")
    workloads.objects["train"]["status"] = {"succeeded": succeeded}
    assert workloads.member("train-1").size == size


def test_a_grove_replicas_size_is_in_its_environment_where_the_set_cannot_be_read() -> None:
    workloads = load("grove")
    del workloads.objects["set"]
    assert workloads.member("pworker-0").size == 3


@pytest.mark.parametrize(
    ("leader_counts", "size", "per", "expected"),
    [(True, 9, 4, [5, 4]), (True, 8, 4, [4, 4]), (False, 9, 4, [4, 4])],
)
def test_sub_groups_are_counted_as_lws_counts_them(
    leader_counts: bool, size: int, per: int, expected: list[int]
) -> None:
    workloads = load("lws-subgroups")
    template = workloads.objects["lws"]["spec"]["leaderWorkerTemplate"]
    del template["leaderTemplate"]  # every pod asks
    for uid in ("sub-0-1", "sub-0-5"):
        workloads.pods[uid]["metadata"]["annotations"] |= {
            "leaderworkerset.sigs.k8s.io/size": str(size),
            "leaderworkerset.sigs.k8s.io/subgroup-size": str(per),
            "leaderworkerset.sigs.k8s.io/subgroup-policy-type": "LeaderWorker" if leader_counts else "LeaderExcluded",
        }
    assert [workloads.member(uid).size for uid in ("sub-0-1", "sub-0-5")] == expected


# -- what is kept of owners -------------------------------------------------------------------------------------


def test_an_owners_deadline_is_known() -> None:
    assert [owner.deadline_s for owner in load("deployment").chain(load("deployment").pods["one"])] == [None, 900]
    assert [owner.deadline_s for owner in load("job").chain(load("job").pods["train-0"])] == [7200]
    assert [owner.deadline_s for owner in load("kuberay").chain(load("kuberay").pods["head"])] == [None, 1200]


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "expected"),
    [
        ("kubeflow.org/v2beta1", "MPIJob", {"runPolicy": {"activeDeadlineSeconds": 60}}, 60),
        ("ray.io/v1", "RayJob", {"activeDeadlineSeconds": 90}, 90),
        ("trainer.kubeflow.org/v1alpha1", "TrainJob", {"activeDeadlineSeconds": 30}, 30),
        ("trainer.kubeflow.org/v1alpha1", "TrainJob", {"activeDeadlineSeconds": "soon"}, None),
        ("jobset.x-k8s.io/v1alpha2", "JobSet", {}, None),
    ],
)
def test_jobs_of_other_apis_have_deadlines_too(
    api_version: str, kind: str, spec: dict[str, Any], expected: int | None
) -> None:
    obj = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "j", "uid": "j"}, "spec": spec}
    assert of_object(obj).deadline_s == expected


def test_of_an_owner_only_what_tells_size_and_shape_is_kept() -> None:
    cluster = load("kuberay").objects["cluster"]
    container = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "PASSWORD", "value": "secret"}]
    cluster["metadata"]["annotations"] = {"other.example.com/note": "long", "warmset.dev/model": "llama"}
    kept = of_object(cluster)
    assert "secret" not in repr(kept)
    assert kept.annotations == {"warmset.dev/model": "llama"}
    assert kept.spec["headGroupSpec"]["template"]["spec"]["containers"] == [
        {"name": "ray-head", "resources": {"limits": {"cpu": "2"}}}
    ]
