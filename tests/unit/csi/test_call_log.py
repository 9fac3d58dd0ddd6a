"""Around every call: an error becomes its status, and the log tells what happened without what is secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from api.errors import Pulling
from csi.interceptor import CallLog
from csi.proto import csi_pb2, csi_pb2_grpc

CANARY = "canary-91ac"


class Driver(csi_pb2_grpc.NodeServicer):
    """Answers a publish with whatever the test wants."""

    def __init__(self) -> None:
        self.outcome: Exception | None = None

    async def NodePublishVolume(self, request: Any, context: Any) -> csi_pb2.NodePublishVolumeResponse:
        if self.outcome is not None:
            raise self.outcome
        return csi_pb2.NodePublishVolumeResponse()


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
async def stub(driver: Driver, tmp_path: Path) -> AsyncIterator[csi_pb2_grpc.NodeStub]:
    server = grpc.aio.server(interceptors=(CallLog(),))
    csi_pb2_grpc.add_NodeServicer_to_server(driver, server)
    server.add_insecure_port(f"unix:{tmp_path}/csi.sock")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/csi.sock") as channel:
        yield csi_pb2_grpc.NodeStub(channel)
    await server.stop(None)


REQUEST = csi_pb2.NodePublishVolumeRequest(volume_id="v-1", secrets={"password": CANARY}, volume_context={"x": CANARY})


async def failure(stub: csi_pb2_grpc.NodeStub) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.NodePublishVolume(REQUEST)
    return caught.value.code(), caught.value.details() or ""


async def test_call_is_logged_once_with_what_was_asked(stub: csi_pb2_grpc.NodeStub) -> None:
    with capture_logs() as logs:
        await stub.NodePublishVolume(REQUEST)
    (entry,) = logs
    assert (entry["event"], entry["method"]) == ("call.complete", "NodePublishVolume")
    assert entry["request"] == {"volume_id": "v-1", "volume_context": {}}
    assert entry["duration_ms"] >= 0


async def test_named_error_is_answered_by_its_code(stub: csi_pb2_grpc.NodeStub, driver: Driver) -> None:
    driver.outcome = Pulling("12 of 40 GiB")
    with capture_logs() as logs:
        assert await failure(stub) == (grpc.StatusCode.ABORTED, "Pulling: 12 of 40 GiB")
    assert [(entry["event"], entry["code"]) for entry in logs] == [("call.failed", "ABORTED")]


async def test_unforeseen_error_is_not_final_and_its_trace_is_logged(
    stub: csi_pb2_grpc.NodeStub, driver: Driver
) -> None:
    driver.outcome = KeyError("defect")
    with capture_logs() as logs:
        code, message = await failure(stub)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "defect" not in message
    assert logs[0]["exc_info"] is driver.outcome


async def test_rpc_that_is_not_offered_is_unimplemented(stub: csi_pb2_grpc.NodeStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.NodeStageVolume(csi_pb2.NodeStageVolumeRequest(volume_id="v", secrets={"password": CANARY}))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("outcome", [None, Pulling("not yet"), KeyError("defect")])
async def test_secrets_are_never_logged(stub: csi_pb2_grpc.NodeStub, driver: Driver, outcome: Exception | None) -> None:
    driver.outcome = outcome
    with capture_logs() as logs:
        if outcome is None:
            await stub.NodePublishVolume(REQUEST)
        else:
            await failure(stub)
    assert logs
    assert CANARY not in repr(logs)
