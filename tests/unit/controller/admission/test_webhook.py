"""Admission reviews: what is answered, whatever is asked."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import pytest

from api import keys
from api.errors import InvalidRequest
from api.fields import ObjectMeta
from api.resources import Model, ModelSpec, ModelStatus
from controller.admission.webhook import Webhook
from controller.cluster.owners import Owners
from controller.cluster.world import World
from kube.client import ApiError, Client
from kube.resources import Resource
from tests.support.workloads import load


class Cluster:
    """An API server that has one Workspace, and its StatefulSet, and no Model."""

    async def get(self, resource: Resource, name: str, *, namespace: str) -> dict[str, Any]:
        for obj in load("kaito").objects.values():
            if (obj["kind"], obj["metadata"]["name"], namespace) == (resource.kind, name, "team"):
                return obj
        raise ApiError(404, "NotFound", "not found")


@pytest.fixture
def webhook() -> Webhook:
    world = World()
    world.models["team/llama"] = Model(
        metadata=ObjectMeta(name="llama", namespace="team", generation=1),
        spec=ModelSpec(source="oci://r.example/m/llama:v1"),
        status=ModelStatus(observed_generation=1, revision="sha256:" + "a" * 64),
    )
    client = cast("Client", Cluster())
    return Webhook(client, world, Owners(client))


def review(asked: str | None = "llama", *, operation: str = "CREATE", **annotations: str) -> bytes:
    notes = annotations | ({keys.MODEL: asked} if asked is not None else {})
    pod = {"metadata": {"annotations": notes}, "spec": {"containers": [{"name": "c"}]}}
    request = {"uid": "review-1", "operation": operation, "namespace": "team", "object": pod}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


async def test_the_answer_carries_the_uid_and_a_patch(webhook: Webhook) -> None:
    answer = await webhook.review(review())
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = answer["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == ("review-1", True, "JSONPatch")
    paths = [operation["path"] for operation in json.loads(base64.b64decode(response["patch"]))]
    assert "/spec/schedulingGates" in paths


@pytest.mark.parametrize(
    "body", [review(None), review(operation="UPDATE"), review(**{"kubernetes.io/config.mirror": "x"})]
)
async def test_what_is_not_ours_is_allowed_as_it_is(webhook: Webhook, body: bytes) -> None:
    assert (await webhook.review(body))["response"] == {"uid": "review-1", "allowed": True}


@pytest.mark.parametrize(
    ("asked", "code", "reason"), [("nosuch", 404, "NotFound"), ("no name!", 400, "InvalidRequest")]
)
async def test_a_refusal_says_why(webhook: Webhook, asked: str, code: int, reason: str) -> None:
    response = (await webhook.review(review(asked)))["response"]
    assert not response["allowed"]
    assert (response["status"]["code"], response["status"]["reason"]) == (code, reason)
    assert response["status"]["message"].startswith("warmset: ")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"request": 1}', b'{"request": {"uid": 7}}', b"\xff"])
async def test_a_body_that_is_no_review_is_refused(webhook: Webhook, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await webhook.review(body)


# -- inherited annotations --------------------------------------------------------------------------------------


def review_of(pod: dict[str, Any]) -> bytes:
    request = {"uid": "review-1", "operation": "CREATE", "namespace": "team", "object": pod}
    return json.dumps({"request": request}).encode()


async def test_a_pod_takes_its_owners_annotations_and_keeps_its_own(webhook: Webhook) -> None:
    pod = load("kaito").pods["falcon-0"]
    pod["metadata"]["annotations"] = {"other": "1"}
    del pod["metadata"]["namespace"]  # as at admission
    response = (await webhook.inherit(review_of(pod)))["response"]
    (operation,) = json.loads(base64.b64decode(response["patch"]))
    assert operation["path"] == "/metadata/annotations"
    own, theirs = {"other": "1"}, {keys.MODEL: "falcon", keys.MAX_HOLD: "10m"}
    assert operation["value"] == own | theirs | {keys.PATH: "/opt/kaito/models/falcon-40b"}


async def test_a_pod_whose_owners_do_not_ask_stays_as_it_is(webhook: Webhook) -> None:
    pod = load("deployment").pods["one"]
    del pod["metadata"]["annotations"]
    assert (await webhook.inherit(review_of(pod)))["response"] == {"uid": "review-1", "allowed": True}
