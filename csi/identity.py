"""The CSI Identity service: who the driver is, and whether it has started."""

from __future__ import annotations

import asyncio

import grpc
from google.protobuf.wrappers_pb2 import BoolValue

from api import keys
from csi.config import Config
from csi.proto import csi_pb2, csi_pb2_grpc


class IdentityService(csi_pb2_grpc.IdentityServicer):  # type: ignore[misc]  # generated code has no types
    """``started`` is set once the driver knows its mounts.

    Probe looks at nothing else. A driver that failed its probe because the agent is slow would be restarted, which
    helps nobody and delays every pod that is being deleted.
    """

    def __init__(self, *, config: Config, started: asyncio.Event) -> None:
        self._config = config
        self._started = started

    async def GetPluginInfo(  # noqa: N802 (the name in csi.proto)
        self, request: csi_pb2.GetPluginInfoRequest, context: grpc.aio.ServicerContext
    ) -> csi_pb2.GetPluginInfoResponse:
        return csi_pb2.GetPluginInfoResponse(name=keys.CSI_DRIVER, vendor_version=self._config.version)

    async def GetPluginCapabilities(  # noqa: N802
        self, request: csi_pb2.GetPluginCapabilitiesRequest, context: grpc.aio.ServicerContext
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        return csi_pb2.GetPluginCapabilitiesResponse()  # node service only

    async def Probe(  # noqa: N802
        self, request: csi_pb2.ProbeRequest, context: grpc.aio.ServicerContext
    ) -> csi_pb2.ProbeResponse:
        return csi_pb2.ProbeResponse(ready=BoolValue(value=self._started.is_set()))
