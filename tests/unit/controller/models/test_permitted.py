"""What a WarmSet or a pod may have, where one of several models cannot be had."""

from __future__ import annotations

from datetime import UTC, datetime

from api.fields import ObjectMeta
from api.resources import (
    Model,
    ModelSpec,
    ModelStatus,
    NodeCache,
    NodeCacheStatus,
    NodeModelStatus,
    Placement,
    WarmSet,
    WarmSetSpec,
)
from controller.models import permitted
from controller.models.wanted import Wanted
from controller.node_caches.desires import Desire, merge
from controller.node_caches.warmth import warmth
from controller.objects.nodes import NodeView
from controller.warm_sets.status import GroupReport, status

NODE = NodeView("n1", "u1")
LLAMA = Wanted("team/llama", "r1", 10)


def model(name: str, *, revision: str = "r1", namespace: str = "team") -> Model:
    return Model(
        metadata=ObjectMeta(name=name, namespace=namespace, generation=1),
        spec=ModelSpec(source=f"oci://registry.example.com/models/{name}:v1"),
        status=ModelStatus(observed_generation=1, revision=revision, bytes=10),
    )


KNOWN = {
    "team/llama": model("llama"),
    "team/draft": model("draft", revision=""),
    "other/secret": model("secret", namespace="other"),
}


def warm_set(*models: str) -> WarmSet:
    meta = ObjectMeta(name="w", namespace="team", generation=1)
    return WarmSet(metadata=meta, spec=WarmSetSpec(models=list(models), placement=Placement(nodes=["n1"])))


def holding(wanted: Wanted) -> NodeCache:
    said = NodeModelStatus(model=wanted.hash, revision=wanted.revision, state="Ready", tree="t")
    return NodeCache(metadata=ObjectMeta(name="n1"), status=NodeCacheStatus(node_uid="u1", models=[said]))


def test_the_first_problem_is_told_and_the_other_models_are_wanted_all_the_same() -> None:
    wanted, problem = permitted.of_warm_set(warm_set("nosuch", "llama"), KNOWN)
    assert problem is not None
    assert problem.reason == "ModelNotFound"
    assert wanted == (LLAMA, Wanted("team/nosuch", ""))


def test_a_model_that_is_not_resolved_yet_does_not_keep_the_others_from_their_nodes() -> None:
    wanted, problem = permitted.of_warm_set(warm_set("draft", "llama"), KNOWN)
    assert problem is not None
    assert problem.reason == "ModelNotResolved"
    assert [entry.model for entry in merge(map(Desire, wanted)).models] == [LLAMA.hash]


def test_what_another_namespace_keeps_for_itself_is_never_pulled() -> None:
    wanted, problem = permitted.of_warm_set(warm_set("other/secret"), KNOWN)
    assert problem is not None
    assert not merge(map(Desire, wanted)).models


def test_no_node_counts_as_warm_while_one_of_the_models_cannot_be_had() -> None:
    wanted, problem = permitted.of_warm_set(warm_set("nosuch", "llama"), KNOWN)
    here = warmth("n1", node=NODE, cache=holding(LLAMA), wanted=wanted)
    found = status(
        warm_set(), [GroupReport("nodes", "", (here,), problem)], bytes_total=10, now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert {c.type: (c.status, c.reason) for c in found.conditions} == {
        "Planned": ("False", "ModelNotFound"),
        "Warm": ("False", "ModelNotFound"),
        "Degraded": ("False", "AsExpected"),
    }
    (group,) = found.groups
    assert (found.groups_ready, found.nodes_ready, group.ready, group.nodes[0].state) == (0, 0, False, "Queued")
    assert group.nodes[0].bytes_done == 10  # of the model that can be had
