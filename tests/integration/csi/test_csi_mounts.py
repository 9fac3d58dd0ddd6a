"""What a pod sees of its model and cannot do to it: a real driver process, real mounts in a private namespace."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import grpc
import pytest
import yaml

from api import keys
from csi.proto import csi_pb2, csi_pb2_grpc
from tests.support.csi_node import FILES, CsiNode, code_of, why_no_mounts
from tests.support.fake_agent import FakeAgent
from tests.support.processes import ROOT
from tests.support.pulling import contents

pytestmark = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here")


async def test_publish_shows_exactly_the_tree(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    assert contents(node.inside(pod.target)) == FILES


async def test_a_static_volume_without_a_revision_is_shown_as_the_example_has_it(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    """deploy/examples/persistent-volume.yaml, as kubelet calls for it: the folder is named like the volume."""
    documents = yaml.safe_load_all((ROOT / "deploy/examples/persistent-volume.yaml").read_text())
    volume = next(obj for obj in documents if obj["kind"] == "PersistentVolume")
    attributes = volume["spec"]["csi"]["volumeAttributes"]
    agent.add_tree(attributes[keys.ATTRIBUTE_MODEL], FILES)
    pod = node.pod(volume=volume["metadata"]["name"])
    request = pod.publish_request(**attributes)
    request.volume_id = volume["spec"]["csi"]["volumeHandle"]
    del request.volume_context["csi.storage.k8s.io/ephemeral"]
    request.readonly = False  # as for a pod that KServe made
    request.volume_capability.access_mode.mode = csi_pb2.VolumeCapability.AccessMode.MULTI_NODE_READER_ONLY
    await stub.NodePublishVolume(request)
    assert contents(node.inside(pod.target)) == FILES
    assert agent.asked[-1].revision == ""
    (mount,) = node.mounts()
    assert "ro" in mount.options


async def test_mount_is_readonly_nosuid_nodev(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    (mount,) = node.mounts()
    assert mount.options >= {"ro", "nosuid", "nodev"}


async def test_not_even_root_can_write_through_the_mount(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    mounted = node.inside(pod.target)
    attempts = {
        "create": lambda: (mounted / "new").touch(),
        "overwrite": lambda: (mounted / "config.json").open("r+b").close(),
        "chmod": lambda: (mounted / "config.json").chmod(0o777),
        "unlink": lambda: (mounted / "config.json").unlink(),
        "rename": lambda: (mounted / "config.json").rename(mounted / "other"),
        "setxattr": lambda: os.setxattr(mounted / "config.json", "user.test", b"1"),
    }
    for name, attempt in attempts.items():
        with pytest.raises(OSError, match="Read-only") as caught:
            attempt()
        assert caught.value.errno == errno.EROFS, name


async def test_a_pod_with_a_user_namespace_of_its_own_cannot_make_the_mount_writable(
    node: CsiNode, stub: csi_pb2_grpc.NodeStub
) -> None:
    """Its root has every capability there; what a mount namespace inherits from a more privileged one is locked."""
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    remount = f"mount -o remount,rw,bind {pod.target} 2>&1; touch {pod.target}/new 2>&1; id -u"
    said = await in_user_namespace(node, remount)
    assert "permission denied" in said.lower()
    assert "Read-only file system" in said
    assert said.rstrip().endswith("\n0"), "it was not root there, which proves nothing"


async def test_a_pod_with_a_user_namespace_of_its_own_reads_the_model(
    node: CsiNode, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    said = await in_user_namespace(node, f"cat {pod.target}/weights/model.safetensors")
    assert said == FILES["weights/model.safetensors"].decode()


async def in_user_namespace(node: CsiNode, script: str) -> str:
    """What a shell prints that is root in user and mount namespaces of its own, on the node."""
    enter = (*node.enter, "unshare", "--user", "--map-root-user", "--mount")
    process = await asyncio.create_subprocess_exec(*enter, "sh", "-c", script, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize("part", ["mount", "weights"])
async def test_symbolic_link_in_the_target_path_is_refused(
    node: CsiNode, stub: csi_pb2_grpc.NodeStub, part: str, tmp_path: Path
) -> None:
    pod = node.pod()
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "mount").mkdir(parents=True)
    if part == "mount":
        pod.target.symlink_to(elsewhere)
    else:
        pod.target.parent.rmdir()
        pod.target.parent.symlink_to(elsewhere)
    code = await code_of(stub.NodePublishVolume(pod.publish_request()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert node.mounts() == []


async def test_tree_behind_a_symbolic_link_is_not_mounted(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub, tmp_path: Path
) -> None:
    folder = agent.add_tree("team-a/linked", {"secret": b"1"})
    folder.rename(tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    pod = node.pod()
    code = await code_of(stub.NodePublishVolume(pod.publish_request(model="team-a/linked")))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert node.mounts() == []


async def test_stats_are_those_of_the_model(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    answer = await stub.NodeGetVolumeStats(pod.stats_request())
    assert [(usage.total, usage.used, usage.available) for usage in answer.usage] == [(11, 11, 0), (2, 2, 0)]


async def test_stats_known_once_do_not_need_the_agent(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    before = await stub.NodeGetVolumeStats(pod.stats_request())
    await agent.stop()
    assert await stub.NodeGetVolumeStats(pod.stats_request()) == before


async def test_no_secret_of_a_request_reaches_the_log(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    request = node.pod().publish_request(**{"csi.storage.k8s.io/serviceAccount.tokens": "canary-token"})
    request.secrets["password"] = "canary-secret"
    request.volume_context["warmset.dev/revision"] = "canary of a wrong shape"
    await code_of(stub.NodePublishVolume(request))
    del request.volume_context["warmset.dev/revision"]
    await stub.NodePublishVolume(request)
    log = node.log.read_text()
    assert "NodePublishVolume" in log
    assert "canary" not in log


async def test_call_from_a_sidecar_with_an_odd_authority_is_served(node: CsiNode) -> None:
    """Older registrars send the socket's path, percent-encoded, which strict HTTP/2 servers refuse."""
    options = [("grpc.default_authority", "%2Fcsi%2Fcsi.sock")]
    async with grpc.aio.insecure_channel(f"unix:{node.endpoint}", options=options) as channel:
        answer = await csi_pb2_grpc.IdentityStub(channel).GetPluginInfo(csi_pb2.GetPluginInfoRequest(), timeout=1)
    assert answer.name == "csi.warmset.dev"
