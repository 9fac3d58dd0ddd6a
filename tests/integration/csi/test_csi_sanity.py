"""csi-sanity, the conformance suite for CSI drivers, against a real driver process on real mounts.

It cannot test a driver without a controller service, publishes below a folder of its own naming and without readonly.
So it talks to a go-between that plays the controller and passes every call of the other two services on to the
driver, changing nothing but the last component of the target path, which kubelet names `mount` and csi-sanity `target`.
"""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from api import keys
from csi.proto import csi_pb2, csi_pb2_grpc
from tests.support.csi_node import MODEL, NAMESPACE, CsiNode, why_no_mounts
from tests.support.fake_agent import FakeAgent
from tests.support.processes import find_binary

WHY_NOT = why_no_mounts() or (
    "" if find_binary("csi-sanity") else 'needs csi-sanity: export PATH="$(.ci/csi-sanity/build):$PATH"'
)
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "csi-sanity is here")
UID = str(uuid.UUID(int=7))
# What is left out would test the go-between's controller.
SKIP = r"Controller Service|CreateVolume|DeleteVolume|ListVolumes|Snapshot|GroupController|ExpandVolume|ModifyVolume"
CHECK_PATH = """#!/bin/sh
path="${1%/target}/mount"
if [ -d "$path" ]; then echo directory; elif [ -e "$path" ]; then echo other; else echo not_found; fi
"""


class Between(csi_pb2_grpc.IdentityServicer, csi_pb2_grpc.NodeServicer, csi_pb2_grpc.ControllerServicer):
    """One driver with a controller, made of a channel to the driver and a controller that knows one model."""

    def __init__(self, driver: grpc.aio.Channel) -> None:
        self._volumes: dict[str, str] = {}
        for stub in (csi_pb2_grpc.IdentityStub(driver), csi_pb2_grpc.NodeStub(driver)):
            for name, call in vars(stub).items():
                if name != "GetPluginCapabilities":
                    setattr(self, name, passed_on(call))

    async def GetPluginCapabilities(self, request: Any, context: Any) -> csi_pb2.GetPluginCapabilitiesResponse:
        kind = csi_pb2.PluginCapability
        service = kind.Service(type=kind.Service.CONTROLLER_SERVICE)
        return csi_pb2.GetPluginCapabilitiesResponse(capabilities=[kind(service=service)])

    async def ControllerGetCapabilities(self, request: Any, context: Any) -> Any:
        kind = csi_pb2.ControllerServiceCapability
        rpc = kind.RPC(type=kind.RPC.CREATE_DELETE_VOLUME)
        return csi_pb2.ControllerGetCapabilitiesResponse(capabilities=[kind(rpc=rpc)])

    async def CreateVolume(self, request: csi_pb2.CreateVolumeRequest, context: Any) -> csi_pb2.CreateVolumeResponse:
        volume_id = self._volumes.setdefault(request.name, f"volume-{len(self._volumes)}")
        attributes = {
            keys.ATTRIBUTE_MODEL: MODEL,
            "csi.storage.k8s.io/pod.name": "sanity",
            "csi.storage.k8s.io/pod.namespace": NAMESPACE,
            "csi.storage.k8s.io/pod.uid": UID,
        }
        volume = csi_pb2.Volume(volume_id=volume_id, capacity_bytes=1, volume_context=attributes)
        return csi_pb2.CreateVolumeResponse(volume=volume)

    async def DeleteVolume(self, request: Any, context: Any) -> csi_pb2.DeleteVolumeResponse:
        return csi_pb2.DeleteVolumeResponse()


def passed_on(call: Any) -> Any:
    async def handler(request: Any, context: grpc.aio.ServicerContext) -> Any:
        for field in ("target_path", "volume_path"):
            path = getattr(request, field, "")
            if path.endswith("/target"):
                setattr(request, field, path.removesuffix("target") + "mount")
        try:
            return await call(request)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")

    return handler


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Path]:
    """The go-between's socket, with a driver and an agent behind it."""
    server = grpc.aio.server()
    async with FakeAgent(socket=tmp_path / "agent.sock", cache_root=tmp_path / "cache") as agent:
        agent.add_tree(MODEL, {"config.json": b"{}"})
        with CsiNode(tmp_path) as node:
            await node.start_driver("--no-require-readonly")
            async with node.channel() as channel:
                between = Between(channel)
                csi_pb2_grpc.add_IdentityServicer_to_server(between, server)
                csi_pb2_grpc.add_NodeServicer_to_server(between, server)
                csi_pb2_grpc.add_ControllerServicer_to_server(between, server)
                server.add_insecure_port(f"unix:{tmp_path}/between.sock")
                await server.start()
                yield tmp_path / "between.sock"
                await server.stop(None)
            assert node.mounts() == []
            assert agent.pins == {}


async def test_driver_conforms(endpoint: Path, tmp_path: Path) -> None:
    volume = tmp_path / "kubelet" / "pods" / UID / "volumes" / "kubernetes.io~csi" / "weights"
    volume.parent.mkdir(parents=True)
    check = tmp_path / "check-path"
    check.write_text(CHECK_PATH)
    check.chmod(0o755)
    binary = find_binary("csi-sanity")
    assert binary is not None
    options = [f"--csi.endpoint=unix://{endpoint}", f"--csi.mountdir={volume}", f"--csi.checkpathcmd={check}"]
    options += [f"--csi.stagingdir={tmp_path}/staging", f"--ginkgo.skip={SKIP}", "--ginkgo.no-color"]
    process = await asyncio.create_subprocess_exec(
        binary, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=os.environ
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text[-6000:]
    ran = re.search(r"Ran (\d+) of", text)
    assert ran is not None
    assert int(ran[1]) >= 15, text[-2000:]  # what is skipped by mistake proves nothing
