"""Starts the driver, serves until it is told to stop, and leaves every mount as it is."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path

import grpc
import structlog

from api.errors import InvalidRequest, MountFailed
from csi.agent_client import AgentClient
from csi.config import Config
from csi.identity import IdentityService
from csi.inflight import InFlight
from csi.interceptor import CallLog
from csi.mountinfo import containing, read_mounts
from csi.node import NodeService
from csi.proto import csi_pb2_grpc
from csi.recover import Recovery
from csi.syscalls import kernel_has_mount_calls

_GRACE_S = 5.0  # for calls under way at the end; one that waits for a pull is simply asked again
log = structlog.get_logger()


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT. Raises a WarmsetError when the node is not fit for the driver."""
    check_node(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started, in_flight = asyncio.Event(), InFlight()
    async with AgentClient(config.agent_socket) as agent:
        server = grpc.aio.server(interceptors=(CallLog(),))
        identity = IdentityService(config=config, started=started)
        csi_pb2_grpc.add_IdentityServicer_to_server(identity, server)
        node = NodeService(config=config, agent=agent, in_flight=in_flight)
        csi_pb2_grpc.add_NodeServicer_to_server(node, server)
        await _listen(server, config.endpoint)
        log.info("driver.started", endpoint=str(config.endpoint), version=config.version)
        recovery = Recovery(config=config, agent=agent, in_flight=in_flight, started=started)
        try:
            await _until(stop, recovery)
        finally:
            await server.stop(_GRACE_S)
    log.info("driver.stopped")


def check_node(config: Config) -> None:
    """Raises MountFailed or InvalidRequest where mounts would fail, or worse, not reach the pods."""
    if not kernel_has_mount_calls():
        raise MountFailed("the kernel has no mount_setattr", hint="Linux 5.12 or newer is needed")
    for option, path in (("kubelet directory", config.kubelet_dir), ("cache root", config.cache_root)):
        if not path.is_absolute() or path.resolve() != path:
            raise InvalidRequest(f"the {option} {path} must be absolute, without symbolic links")
    pods = config.kubelet_dir / "pods"
    if not pods.is_dir():
        raise InvalidRequest(f"kubelet's folder {pods} does not exist", hint="set --kubelet-root to kubelet's root")
    mount = containing(read_mounts(), pods)
    if mount is None or not mount.shared:
        # Pods would start with an empty folder in the place of their model.
        raise MountFailed(
            f"mounts made below {pods} do not reach the node",
            hint="mount it into the csi container with mountPropagation: Bidirectional",
        )


def remove_stale_socket(path: Path) -> None:
    """A socket left by an earlier driver goes (kubelet watches for a new one); anything else stays: InvalidRequest."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InvalidRequest(f"{path} exists and is not a socket")
    path.unlink()


async def _listen(server: grpc.aio.Server, endpoint: Path) -> None:
    remove_stale_socket(endpoint)
    before = os.umask(0o177)  # only root may connect, from the first moment on
    try:
        server.add_insecure_port(f"unix:{endpoint}")
        await server.start()
    except RuntimeError as error:
        raise InvalidRequest(f"cannot listen on {endpoint}", hint="does its folder exist?") from error
    finally:
        os.umask(before)


async def _until(stop: asyncio.Event, recovery: Recovery) -> None:
    """Wait for ``stop`` while the recovery runs. It never ends by itself; should it fail, so does the driver."""
    running = asyncio.create_task(recovery.run(), name="recovery")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        running.cancel()
        stopping.cancel()
