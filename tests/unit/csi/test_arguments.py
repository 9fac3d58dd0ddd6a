"""What is wrong with a request is said before anything is done (CSI spec, Node Service RPC, errors)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from api import keys
from api.errors import InvalidRequest
from csi.arguments import publish_order, stats_path, unpublish_target
from csi.config import Config
from csi.proto import csi_pb2
from tests.support.csi_node import MODEL, Pod

Request = csi_pb2.NodePublishVolumeRequest
Spoil = Callable[[Request], object]


def unset(key: str) -> Spoil:
    return lambda request: request.volume_context.pop(key)


def put(key: str, value: str) -> Spoil:
    return lambda request: request.volume_context.update({key: value})


WRONG: dict[str, tuple[Spoil, str]] = {
    "no volume id": (lambda r: r.ClearField("volume_id"), "volume_id"),
    "no target path": (lambda r: r.ClearField("target_path"), "target_path"),
    "no capability": (lambda r: r.ClearField("volume_capability"), "volume_capability"),
    "no access type": (lambda r: r.volume_capability.ClearField("mount"), "access type"),
    "block volume": (lambda r: r.volume_capability.block.SetInParent(), "access type"),
    "no access mode": (lambda r: r.volume_capability.ClearField("access_mode"), "access_mode"),
    "mount options": (lambda r: r.volume_capability.mount.mount_flags.append("exec"), "mount options"),
    "mount group": (lambda r: setattr(r.volume_capability.mount, "volume_mount_group", "1"), "volume_mount_group"),
    "not read-only": (lambda r: r.ClearField("readonly"), "read-only"),
    "path outside kubelet's": (lambda r: setattr(r, "target_path", "/etc"), "target path"),
    "no pod uid": (unset("csi.storage.k8s.io/pod.uid"), "pod.uid"),
    "no pod namespace": (unset("csi.storage.k8s.io/pod.namespace"), "pod.namespace"),
    "no pod name": (unset("csi.storage.k8s.io/pod.name"), "pod.name"),
    "uid of another pod": (put("csi.storage.k8s.io/pod.uid", "another"), "pod.uid"),
    "no model": (unset(keys.ATTRIBUTE_MODEL), keys.ATTRIBUTE_MODEL),
    "model without a namespace": (put(keys.ATTRIBUTE_MODEL, "llama"), keys.ATTRIBUTE_MODEL),
    "model that climbs": (put(keys.ATTRIBUTE_MODEL, "../llama"), keys.ATTRIBUTE_MODEL),
    "reference as a model": (put(keys.ATTRIBUTE_MODEL, "oci://u:p@host/llama"), keys.ATTRIBUTE_MODEL),
    "revision of a wrong shape": (put(keys.ATTRIBUTE_REVISION, "a b"), keys.ATTRIBUTE_REVISION),
    "secret without end": (lambda r: r.secrets.update({".dockerconfigjson": "x" * (65 << 10)}), "larger than"),
    "preloading of a wrong shape": (put(keys.ATTRIBUTE_PRELOAD, "yes"), keys.ATTRIBUTE_PRELOAD),
    "attribute that does not exist": (put("warmset.dev/revsion", "1"), "revsion"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_publish_request_is_refused_and_says_what_is_wrong(case: str, config: Config, pod: Pod) -> None:
    spoil, said = WRONG[case]
    request = pod.publish_request()
    spoil(request)
    with pytest.raises(InvalidRequest, match=said):
        publish_order(request, config=config)


def test_right_publish_request_becomes_an_order(config: Config, pod: Pod) -> None:
    request = pod.publish_request(**{keys.ATTRIBUTE_REVISION: "sha256:" + "0" * 64})
    order = publish_order(request, config=config)
    assert (order.model, order.revision) == (MODEL, "sha256:" + "0" * 64)
    assert (order.namespace, order.pod, order.target.pod_uid) == ("team-a", "llama-0", pod.uid)


def test_agent_is_asked_by_the_hash_of_the_target_path(config: Config, pod: Pod) -> None:
    order = publish_order(pod.publish_request(), config=config)
    wanted = order.request(wait_s=3.0)
    assert wanted.id == order.target.id
    assert (wanted.pod_uid, wanted.wait_s) == (pod.uid, 3.0)


def test_wrong_value_is_not_repeated_because_it_may_be_a_secret(config: Config, pod: Pod) -> None:
    request = pod.publish_request(model="oci://user:hunter2@host/llama")
    with pytest.raises(InvalidRequest) as caught:
        publish_order(request, config=config)
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_attributes_of_others_are_left_alone(config: Config, pod: Pod) -> None:
    request = pod.publish_request(**{"storage.kubernetes.io/csiProvisionerIdentity": "x"})
    publish_order(request, config=config)


def test_conformance_tools_may_leave_readonly_out(config: Config, pod: Pod) -> None:
    request = pod.publish_request()
    request.readonly = False
    publish_order(request, config=dataclasses.replace(config, require_readonly=False))


def test_a_volume_for_readers_alone_need_not_be_called_read_only_by_the_pod(config: Config, pod: Pod) -> None:
    """KServe's pvc:// makes pods whose claim says no readOnly."""
    request = pod.publish_request()
    request.readonly = False
    request.volume_capability.access_mode.mode = csi_pb2.VolumeCapability.AccessMode.MULTI_NODE_READER_ONLY
    assert publish_order(request, config=config).model == MODEL


@pytest.mark.parametrize("field", ["volume_id", "target_path"])
def test_unpublish_needs_each_field(field: str, config: Config, pod: Pod) -> None:
    request = pod.unpublish_request()
    request.ClearField(field)
    with pytest.raises(InvalidRequest, match=field):
        unpublish_target(request, config=config)


@pytest.mark.parametrize("field", ["volume_id", "volume_path"])
def test_stats_need_each_field(field: str, pod: Pod) -> None:
    request = pod.stats_request()
    request.ClearField(field)
    with pytest.raises(InvalidRequest, match=field):
        stats_path(request)


@pytest.mark.parametrize(("value", "asked"), [("true", True), ("false", False)])
def test_preloading_is_passed_on(config: Config, pod: Pod, value: str, asked: bool) -> None:
    order = publish_order(pod.publish_request(**{keys.ATTRIBUTE_PRELOAD: value}), config=config)
    assert order.request(wait_s=1.0).preload is asked


def test_only_a_registry_login_is_taken_of_the_secrets_and_it_shows_nowhere(config: Config, pod: Pod) -> None:
    request = pod.publish_request()
    request.secrets.update({".dockerconfigjson": "canary", "csi.storage.k8s.io/serviceAccount.tokens": "token"})
    order = publish_order(request, config=config)
    sent = order.request(wait_s=1.0)
    assert sent.login == "canary"
    assert "token" not in str(dataclasses.astuple(order))
    assert "canary" not in repr(order) + repr(sent)
