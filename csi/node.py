"""The CSI Node service: kubelet's calls to show a model to a pod and to take it away again.

The state is the mount table and nothing else. Each call reads it, so a call repeats safely after the driver was killed
anywhere in an earlier one: publish pins (the agent's fsynced file), then mounts in one step; unpublish unmounts,
removes the empty folder, then unpins. A pin without a mount is all that can be left over, and recover.py takes it away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import grpc
import structlog

from api.digest import Digest
from api.errors import AgentUnavailable, AlreadyPublished, NotFound, WarmsetError
from api.node import MAX_WAIT_S, Publication
from csi import arguments, mount
from csi.agent_client import AgentClient
from csi.arguments import PublishOrder
from csi.config import Config
from csi.inflight import InFlight
from csi.mountinfo import read_mounts
from csi.proto import csi_pb2, csi_pb2_grpc
from csi.published import Published, published_at
from csi.status_codes import is_final
from csi.targets import Target, match_target

# Of the caller's deadline, what is kept for the mount and the answer once the agent has let go of the call.
_RESERVE_S = 15.0
T = TypeVar("T")
log = structlog.get_logger()


class NodeService(csi_pb2_grpc.NodeServicer):  # type: ignore[misc]  # generated code has no types
    """Methods raise WarmsetErrors; the interceptor turns them into statuses and logs every call."""

    def __init__(self, *, config: Config, agent: AgentClient, in_flight: InFlight) -> None:
        self._config = config
        self._agent = agent
        self._in_flight = in_flight
        self._sizes: dict[str, Publication] = {}  # by tree

    async def NodePublishVolume(  # noqa: N802 (the name in csi.proto)
        self, request: csi_pb2.NodePublishVolumeRequest, context: grpc.aio.ServicerContext
    ) -> csi_pb2.NodePublishVolumeResponse:
        order = arguments.publish_order(request, config=self._config)
        async with self._in_flight.hold(order.target.id):
            found = await self._published(order.target)
            if found is None:
                await self._publish(order, wait_s=_wait_s(context.time_remaining()))
            else:
                await self._confirm(order, found)
        return csi_pb2.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(  # noqa: N802
        self, request: csi_pb2.NodeUnpublishVolumeRequest, context: grpc.aio.ServicerContext
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        target = arguments.unpublish_target(request, config=self._config)
        async with self._in_flight.hold(target.id):
            await _to_its_end(lambda: mount.release(target, kubelet_dir=self._config.kubelet_dir))
            try:
                await self._agent.unpublish(target.id)
            except AgentUnavailable as error:
                # A pod must not stay Terminating because the agent restarts: the next report of what is live frees
                # the pin, as it does after a crash at this point.
                log.warning("unpin.delayed", publication=target.id, reason=error.reason, message=error.message)
        return csi_pb2.NodeUnpublishVolumeResponse()

    async def NodeGetVolumeStats(  # noqa: N802
        self, request: csi_pb2.NodeGetVolumeStatsRequest, context: grpc.aio.ServicerContext
    ) -> csi_pb2.NodeGetVolumeStatsResponse:
        # Answered from the mount table and the agent's records: a disk that hangs must not hang this.
        target = match_target(arguments.stats_path(request), kubelet_dir=self._config.kubelet_dir)
        found = None if target is None else await self._published(target)
        if found is None or found.tree is None:
            raise NotFound("no model is published at this path")
        size = await self._size_of(found.tree)
        usage = csi_pb2.VolumeUsage
        return csi_pb2.NodeGetVolumeStatsResponse(
            usage=[
                usage(unit=usage.BYTES, total=size.bytes, used=size.bytes, available=0),
                usage(unit=usage.INODES, total=size.files, used=size.files, available=0),
            ]
        )

    async def NodeGetCapabilities(  # noqa: N802
        self, request: csi_pb2.NodeGetCapabilitiesRequest, context: grpc.aio.ServicerContext
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        capability = csi_pb2.NodeServiceCapability
        stats = capability(rpc=capability.RPC(type=capability.RPC.GET_VOLUME_STATS))
        return csi_pb2.NodeGetCapabilitiesResponse(capabilities=[stats])

    async def NodeGetInfo(  # noqa: N802
        self, request: csi_pb2.NodeGetInfoRequest, context: grpc.aio.ServicerContext
    ) -> csi_pb2.NodeGetInfoResponse:
        return csi_pb2.NodeGetInfoResponse(node_id=self._config.node_name)

    async def _publish(self, order: PublishOrder, *, wait_s: float) -> None:
        """Pin, then mount. A final error leaves neither."""
        try:
            publication = await self._agent.publish(order.request(wait_s=wait_s))
            tree = Digest.parse(publication.tree)
            config = self._config
            await _to_its_end(
                lambda: mount.bind(
                    tree, target=order.target, cache_root=config.cache_root, kubelet_dir=config.kubelet_dir
                )
            )
        except WarmsetError as error:
            # After an error that is not final kubelet comes back, to publish or to unpublish; a pin may wait for that.
            if is_final(error):
                await self._unpin(order.target, because=error)
            raise

    async def _confirm(self, order: PublishOrder, found: Published) -> None:
        """Something is mounted at the target: success if it is what the order asks for, and then nothing changes.

        Raises AlreadyPublished where it is not.
        """
        if found.tree is None or not found.guarded:
            raise AlreadyPublished("something that is no model of this cache is mounted at the target")
        publication = await self._publication(order.target)
        if publication is None:
            publication = await self._pin_again(order, found)
        if (
            publication.tree != str(found.tree)
            or publication.model != order.model
            or (order.revision and publication.revision != order.revision)
        ):
            raise AlreadyPublished("another model or revision is mounted at the target")

    async def _pin_again(self, order: PublishOrder, found: Published) -> Publication:
        """The target is mounted and the agent has lost its pin: a defect or a meddled-with disk, made good here."""
        try:
            publication = await self._agent.publish(order.request(wait_s=0.0))
        except WarmsetError as error:
            # The mount stays, a pod may read from it; so no answer may be final.
            raise AgentUnavailable(f"the target is mounted, but cannot be pinned: {error.message}") from error
        if publication.tree != str(found.tree):
            await self._agent.unpublish(order.target.id)
        return publication

    async def _unpin(self, target: Target, *, because: WarmsetError) -> None:
        try:
            await self._agent.unpublish(target.id)
        except WarmsetError as error:
            raise AgentUnavailable(
                f"{because.reason}: {because.message}; the pin could not be taken back: {error.message}"
            ) from error

    async def _size_of(self, tree: Digest) -> Publication:
        """Any publication of the tree. A tree never changes, so the agent is asked once: kubelet asks every minute."""
        if str(tree) not in self._sizes:
            self._sizes = {publication.tree: publication for publication in await self._agent.publications()}
        if str(tree) not in self._sizes:
            raise NotFound("the agent knows no publication of the model at this path")
        return self._sizes[str(tree)]

    async def _published(self, target: Target) -> Published | None:
        mounts = await asyncio.to_thread(read_mounts)
        return published_at(target, mounts=mounts, cache_root=self._config.cache_root)

    async def _publication(self, target: Target) -> Publication | None:
        publications = await self._agent.publications()
        # One without a model was pinned by the agent for a mount that it heard of: nobody granted it yet.
        return next((found for found in publications if found.id == target.id and found.model), None)


def _wait_s(remaining_s: float | None) -> float:
    """How long the agent may hold a publish call that its caller gives ``remaining_s`` seconds more."""
    if remaining_s is None:
        return MAX_WAIT_S
    return max(0.0, min(MAX_WAIT_S, remaining_s - _RESERVE_S))


async def _to_its_end(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread. If the call is cancelled meanwhile, wait for it all the same, then be cancelled.

    A thread cannot be stopped: were the target let go before it ends, a mount could appear after an unpublish.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
