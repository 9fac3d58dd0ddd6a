"""Engine images: the pod that pulls one, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from api import keys
from api.fields import ObjectMeta
from api.resources import Placement, WarmSet, WarmSetSpec
from controller.objects.nodes import NodeView
from controller.warm_sets.engine_images import is_there, name, outcome, pod

SET = WarmSet(
    metadata=ObjectMeta(name="w", namespace="team", uid="u"),
    spec=WarmSetSpec(models=["llama"], placement=Placement(node_selector={}), images=["engine:1"]),
)
NODE = NodeView("n1", "node-uid")


def test_the_pod_runs_on_that_node_alone_has_no_rights_and_goes_with_the_warm_set() -> None:
    made = pod(SET, NODE, "engine:1")
    spec = made["spec"]
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"] == [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    ]
    assert spec["automountServiceAccountToken"] is False
    assert spec["containers"][0]["image"] == "engine:1"
    assert made["metadata"]["labels"] == {keys.IMAGES_OF: "u"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_each_node_and_image_has_a_name_of_its_own() -> None:
    other = NodeView("n1", "another-uid")
    assert len({name(SET, NODE, "engine:1"), name(SET, NODE, "engine:2"), name(SET, other, "engine:1")}) == 3


def status(phase: str, **container: Any) -> dict[str, Any]:
    return {"status": {"phase": phase, "containerStatuses": [container] if container else []}}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (status("Pending"), ("waiting", "")),
        (
            status("Pending", state={"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}, imageID=""),
            ("waiting", "ImagePullBackOff: no such tag"),
        ),
        (status("Succeeded", imageID="sha256:1"), ("there", "")),
        (status("Failed", imageID="sha256:1", state={"terminated": {"reason": "StartError"}}), ("there", "")),
        (status("Failed"), ("failed", "the pod ended before its image was there")),
        ({"status": {"phase": "Failed", "reason": "DeadlineExceeded"}}, ("failed", "DeadlineExceeded")),
        (
            status("Failed", state={"waiting": {"reason": "ErrImagePull"}}, imageID=""),
            ("failed", "ErrImagePull"),
        ),
    ],
)
def test_an_image_is_there_when_a_container_was_made_of_it_whatever_became_of_that(
    found: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert outcome(found) == expected


@pytest.mark.parametrize(
    ("image", "there"),
    [
        ("engine:1", True),
        ("docker.io/library/engine:1", True),
        ("engine", False),
        ("org/tool", True),
        ("r.example:5000/engine", False),
        ("r.example/e@sha256:abc", True),
    ],
)
def test_names_are_compared_as_the_runtime_writes_them(image: str, there: bool) -> None:
    names = ["docker.io/library/engine:1", "docker.io/org/tool:latest", "r.example/e@sha256:abc"]
    assert is_there(image, names) == there
