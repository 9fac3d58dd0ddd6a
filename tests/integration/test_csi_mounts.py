"""kubelet's calls to a real driver process, on real mounts in a private mount namespace."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import yaml

from api import keys
from csi.proto import csi_pb2, csi_pb2_grpc
from tests.support.csi_node import MODEL, CsiNode, why_no_mounts
from tests.support.fake_agent import FakeAgent
from tests.support.processes import ROOT

pytestmark = pytest.mark.skipif(bool(why_no_mounts()), reason=why_no_mounts() or "mounts work here")
FILES = {"config.json": b"{}", "weights/model.safetensors": b"0123456789"}


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[FakeAgent]:
    agent = FakeAgent(socket=tmp_path / "agent.sock", cache_root=tmp_path / "cache")
    await agent.start()
    yield agent
    await agent.stop()


@pytest.fixture
async def node(tmp_path: Path, agent: FakeAgent) -> AsyncIterator[CsiNode]:
    """A node whose agent has MODEL, with a driver running."""
    node = CsiNode(tmp_path)
    node.start()
    agent.add_tree(MODEL, FILES)
    try:
        await node.start_driver()
        yield node
    finally:
        node.stop()


@pytest.fixture
async def stub(node: CsiNode) -> AsyncIterator[csi_pb2_grpc.NodeStub]:
    async with node.channel() as channel:
        yield csi_pb2_grpc.NodeStub(channel)


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def code_of(call: object) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value.code()


async def test_publish_shows_exactly_the_tree(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    assert tree_of(node.inside(pod.target)) == FILES


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
    assert tree_of(node.inside(pod.target)) == FILES
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
    assert node.holder is not None
    enter = (*node.enter, "unshare", "--user", "--map-root-user", "--mount")
    process = await asyncio.create_subprocess_exec(*enter, "sh", "-c", script, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


async def test_publishing_ten_times_makes_one_mount(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    for _ in range(10):
        await stub.NodePublishVolume(pod.publish_request())
    assert len(node.mounts()) == 1
    assert len(agent.pins) == 1


async def test_twenty_concurrent_calls_for_one_target_make_one_mount(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    agent.hold_s = 0.2
    calls = [stub.NodePublishVolume(pod.publish_request()) for _ in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    codes = {answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)}
    assert codes <= {grpc.StatusCode.ABORTED}
    assert any(isinstance(answer, csi_pb2.NodePublishVolumeResponse) for answer in answers)
    assert len(node.mounts()) == 1


async def test_two_pods_share_a_tree_and_end_apart(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    first, second = node.pod(), node.pod()
    for pod in (first, second):
        await stub.NodePublishVolume(pod.publish_request())
    await stub.NodeUnpublishVolume(first.unpublish_request())
    assert [mount.point for mount in node.mounts()] == [str(second.target)]
    assert tree_of(node.inside(second.target)) == FILES
    assert len(agent.pins) == 1


async def test_unpublish_leaves_nothing_and_the_cache_as_it_was(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    await stub.NodeUnpublishVolume(pod.unpublish_request())
    assert node.mounts() == []
    assert not pod.target.exists()
    assert pod.target.parent.is_dir()  # kubelet's own
    assert agent.pins == {}
    assert sorted(path.read_bytes() for path in node.cache.rglob("*") if path.is_file()) == sorted(FILES.values())


async def test_unpublish_of_what_was_never_published_succeeds(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    await stub.NodeUnpublishVolume(node.pod().unpublish_request())


async def test_unpublish_twice_succeeds(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    for _ in range(2):
        await stub.NodeUnpublishVolume(pod.unpublish_request())


async def test_unpublish_takes_away_every_mount_stacked_on_the_target(
    node: CsiNode, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    assert node.holder is not None
    process = await asyncio.create_subprocess_exec(*node.enter, "mount", "-t", "tmpfs", "none", str(pod.target))
    assert await process.wait() == 0
    await stub.NodeUnpublishVolume(pod.unpublish_request())
    assert node.mounts() == []
    assert not pod.target.exists()


async def test_unpublish_deletes_no_file_that_lies_in_the_target(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    pod.target.mkdir()
    (pod.target / "somebody's").write_text("precious")
    await code_of(stub.NodeUnpublishVolume(pod.unpublish_request()))
    assert (pod.target / "somebody's").read_text() == "precious"


async def test_another_model_at_the_same_target_is_already_exists(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    agent.add_tree("team-a/other", {"other": b"1"})
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    code = await code_of(stub.NodePublishVolume(pod.publish_request(model="team-a/other")))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert tree_of(node.inside(pod.target)) == FILES
    assert len(agent.pins) == 1


async def test_republish_after_the_tag_moved_keeps_the_mounted_tree(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    agent.add_tree(MODEL, {"config.json": b"new"}, revision="r2")
    await stub.NodePublishVolume(pod.publish_request())
    assert tree_of(node.inside(pod.target)) == FILES


async def test_foreign_mount_at_the_target_is_already_exists(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    pod.target.mkdir()
    assert node.holder is not None
    process = await asyncio.create_subprocess_exec(*node.enter, "mount", "-t", "tmpfs", "none", str(pod.target))
    assert await process.wait() == 0
    assert await code_of(stub.NodePublishVolume(pod.publish_request())) is grpc.StatusCode.ALREADY_EXISTS


async def test_agent_down_is_unavailable_and_nothing_is_mounted(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    await agent.stop()
    pod = node.pod()
    assert await code_of(stub.NodePublishVolume(pod.publish_request())) is grpc.StatusCode.UNAVAILABLE
    assert node.mounts() == []
    assert not pod.target.exists()


async def test_unpublish_works_while_the_agent_is_down_and_its_pin_goes_when_it_is_back(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    await agent.stop()
    await stub.NodeUnpublishVolume(pod.unpublish_request())
    assert node.mounts() == []
    await agent.start()
    node.drivers[-1].kill()
    await node.start_driver()  # reports at start what is live
    async with asyncio.timeout(10):
        while agent.pins:
            await asyncio.sleep(0.05)


async def test_probe_is_ready_while_the_agent_is_down(node: CsiNode, agent: FakeAgent) -> None:
    await agent.stop()
    async with node.channel() as channel:
        answer = await csi_pb2_grpc.IdentityStub(channel).Probe(csi_pb2.ProbeRequest())
    assert answer.ready.value


async def test_pull_longer_than_the_call_is_aborted_and_mounts_nothing_later(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    agent.hold_s = 60.0
    pod = node.pod()
    # The driver keeps 15 s for itself, so that it asks the agent to hold the call for about half a second.
    code = await code_of(stub.NodePublishVolume(pod.publish_request(), timeout=15.5))
    assert code is grpc.StatusCode.ABORTED
    assert 0.0 < agent.asked[-1].wait_s < 5.0
    assert node.mounts() == []


async def test_call_whose_deadline_passes_leaves_the_target_free_for_unpublish(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    agent.hold_s = 0.0
    for deadline_s in (0.001, 0.005, 0.01, 0.02):
        call = stub.NodePublishVolume(pod.publish_request(), timeout=deadline_s)
        await asyncio.gather(call, return_exceptions=True)
        await stub.NodeUnpublishVolume(pod.unpublish_request(), wait_for_ready=True)
        assert node.mounts() == []
        assert not pod.target.exists()


async def test_driver_killed_between_calls_finds_its_mounts_again(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    (pin,) = agent.pins.values()
    node.drivers[-1].send_signal(signal.SIGKILL)
    node.drivers[-1].wait()
    assert tree_of(node.inside(pod.target)) == FILES
    reports = len(agent.reports)
    await node.start_driver()
    async with asyncio.timeout(10):
        while len(agent.reports) == reports:
            await asyncio.sleep(0.05)
    assert (agent.reports[-1].ids, agent.reports[-1].trees) == ([pin.id], {pin.id: pin.tree})
    await stub.NodePublishVolume(pod.publish_request(), wait_for_ready=True)
    assert len(node.mounts()) == 1
    assert len(agent.pins) == 1
    await stub.NodeUnpublishVolume(pod.unpublish_request())
    assert node.mounts() == []
    assert agent.pins == {}


async def test_sigterm_leaves_mounts_alone(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    await stub.NodePublishVolume(pod.publish_request())
    node.drivers[-1].terminate()
    assert node.drivers[-1].wait(timeout=10) == 0
    assert tree_of(node.inside(pod.target)) == FILES


async def test_publish_after_a_reboot_mounts_again(node: CsiNode, stub: csi_pb2_grpc.NodeStub) -> None:
    pod = node.pod()
    pod.target.mkdir()  # what a reboot leaves: the folder without the mount
    await stub.NodePublishVolume(pod.publish_request())
    assert tree_of(node.inside(pod.target)) == FILES


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


async def test_hundred_pods_at_once_all_get_their_model(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pods = [node.pod() for _ in range(100)]
    await asyncio.gather(*(stub.NodePublishVolume(pod.publish_request()) for pod in pods))
    assert len(node.mounts()) == len(agent.pins) == 100
    await asyncio.gather(*(stub.NodeUnpublishVolume(pod.unpublish_request()) for pod in pods))
    assert node.mounts() == []
    assert agent.pins == {}


async def test_running_out_of_descriptors_is_not_final_and_over_once_there_are_some(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    driver = node.drivers[-1].pid
    await stub.NodePublishVolume(node.pod().publish_request())
    usual = resource.prlimit(driver, resource.RLIMIT_NOFILE)
    resource.prlimit(driver, resource.RLIMIT_NOFILE, (len([*Path(f"/proc/{driver}/fd").iterdir()]), usual[1]))
    pod = node.pod()
    code = await code_of(stub.NodePublishVolume(pod.publish_request()))
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    resource.prlimit(driver, resource.RLIMIT_NOFILE, usual)
    await stub.NodePublishVolume(pod.publish_request())
    assert len(node.mounts()) == 2


async def test_a_driver_that_was_stopped_for_a_while_goes_on_where_it_was(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    """As in a paused virtual machine: a call waits meanwhile, and its caller gives up."""
    pod = node.pod()
    node.drivers[-1].send_signal(signal.SIGSTOP)
    code = await code_of(stub.NodePublishVolume(pod.publish_request(), timeout=1.0))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    node.drivers[-1].send_signal(signal.SIGCONT)
    await stub.NodeUnpublishVolume(pod.unpublish_request(), wait_for_ready=True)
    assert node.mounts() == []
    await stub.NodePublishVolume(pod.publish_request())
    assert len(node.mounts()) == len(agent.pins) == 1


async def test_pods_read_on_while_the_driver_is_replaced(
    node: CsiNode, agent: FakeAgent, stub: csi_pb2_grpc.NodeStub
) -> None:
    pods = [node.pod() for _ in range(20)]
    for pod in pods:
        await stub.NodePublishVolume(pod.publish_request())
    reports = len(agent.reports)
    node.drivers[-1].kill()
    replacing = asyncio.create_task(node.start_driver())
    while not replacing.done():
        assert all(tree_of(node.inside(pod.target)) == FILES for pod in pods)
        await asyncio.sleep(0.05)
    await replacing
    async with asyncio.timeout(10):
        while len(agent.reports) == reports:
            await asyncio.sleep(0.05)
    assert len(agent.pins) == 20


async def test_call_from_a_sidecar_with_an_odd_authority_is_served(node: CsiNode) -> None:
    """Older registrars send the socket's path, percent-encoded, which strict HTTP/2 servers refuse."""
    options = [("grpc.default_authority", "%2Fcsi%2Fcsi.sock")]
    async with grpc.aio.insecure_channel(f"unix:{node.endpoint}", options=options) as channel:
        answer = await csi_pb2_grpc.IdentityStub(channel).GetPluginInfo(csi_pb2.GetPluginInfoRequest(), timeout=1)
    assert answer.name == "csi.warmset.dev"
