"""Nothing secret of a request reaches a log."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message import Message

from api import keys
from csi.proto import csi_pb2
from csi.redact import loggable
from tests.support.csi_node import MODEL, Pod

CANARY = "canary-5f2b"
SECRET_REQUESTS: list[type[Message]] = [
    csi_pb2.NodePublishVolumeRequest,
    csi_pb2.NodeStageVolumeRequest,
    csi_pb2.NodeExpandVolumeRequest,
    csi_pb2.CreateVolumeRequest,
]


@pytest.mark.parametrize("kind", SECRET_REQUESTS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_fields_that_the_protocol_marks_secret_are_left_out(kind: type[Message]) -> None:
    assert CANARY not in json.dumps(loggable(kind(secrets={"password": CANARY})))


@pytest.mark.parametrize("key", ["anything", "csi.storage.k8s.io/serviceAccount.tokens", keys.DOMAIN + "/token"])
def test_unknown_attributes_are_left_out(pod: Pod, key: str) -> None:
    assert CANARY not in json.dumps(loggable(pod.publish_request(**{key: CANARY})))


@pytest.mark.parametrize("key", [keys.ATTRIBUTE_MODEL, keys.ATTRIBUTE_REVISION, "csi.storage.k8s.io/pod.name"])
def test_known_attribute_of_a_wrong_shape_is_left_out(pod: Pod, key: str) -> None:
    assert CANARY not in json.dumps(loggable(pod.publish_request(**{key: f"oci://user:{CANARY}@host/x y"})))


def test_mount_options_and_publish_context_are_left_out(pod: Pod) -> None:
    request = pod.publish_request()
    request.volume_capability.mount.mount_flags.append(CANARY)
    request.publish_context["any"] = CANARY
    assert CANARY not in json.dumps(loggable(request))


def test_what_helps_to_find_a_fault_stays(pod: Pod) -> None:
    shown = json.dumps(loggable(pod.publish_request()))
    for wanted in (MODEL, pod.uid, str(pod.target), "llama-0"):
        assert wanted in shown
