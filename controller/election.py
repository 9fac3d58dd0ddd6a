"""One leader among the replicas, by a Lease (coordination.k8s.io/v1).

The local clock only measures how long the Lease has not changed, so clocks of replicas need not agree; every write
to the Lease carries its resourceVersion. A Lease is no fence: a leader that was stopped for longer than the Lease
may wake and write once more, which is why all other writes carry a resourceVersion or a UID as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from typing import Any

import structlog

from api.errors import ClusterUnavailable
from kube.client import ApiError, Client
from kube.resources import LEASE

LEASE_S = 15.0  # as client-go's defaults: lease 15 s, renewal given up after 10 s, tried every 2 s
RENEW_WITHIN_S = 10.0
RETRY_S = 2.0
ANSWER_S = 5.0  # for one try, which may take two requests

log = structlog.get_logger()


class Election:
    """``acquire`` returns when we lead; then ``hold`` runs for as long as we do."""

    def __init__(self, client: Client, *, namespace: str, name: str, identity: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._lease: dict[str, Any] | None = None
        self._seen_version = ""
        self._seen_at = 0.0

    async def acquire(self) -> None:
        while not await self._try():  # noqa: ASYNC110 (the Lease is elsewhere: there is no event to wait for)
            await asyncio.sleep(RETRY_S * random.uniform(0.8, 1.2))  # noqa: S311 (jitter, not a secret)
        log.info("leader.elected", identity=self._identity)

    async def hold(self) -> None:
        """Renew; returns when the Lease was lost or, before others may take it, could not be renewed in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RENEW_WITHIN_S) as deadline:
                while True:
                    await asyncio.sleep(RETRY_S)
                    began = asyncio.get_running_loop().time()
                    if await self._try():
                        deadline.reschedule(began + RENEW_WITHIN_S)
                    elif self._lease is not None and _holder(self._lease) != self._identity:
                        break
        log.error("leader.lost", identity=self._identity)

    async def release(self) -> None:
        """Let the next one lead at once."""
        if self._lease is None or _holder(self._lease) != self._identity:
            return
        self._lease["spec"]["holderIdentity"] = ""
        try:
            await self._client.replace(LEASE, self._lease)
        except (ApiError, ClusterUnavailable) as error:
            log.info("leader.not_released", error=str(error))

    async def _try(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._renew_or_take()
        except (ApiError, ClusterUnavailable, TimeoutError) as error:
            # 409: another replica was quicker. Anything else is tried again as well.
            log.info("leader.retry", error=str(error) or "timed out")
            return False

    async def _renew_or_take(self) -> bool:
        try:
            lease = await self._client.get(LEASE, self._name, namespace=self._namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            body = {"metadata": {"name": self._name, "namespace": self._namespace}, "spec": self._spec({})}
            self._lease = await self._client.create(LEASE, body, namespace=self._namespace)
            return True
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, time.monotonic()
        self._lease = lease
        spec = lease.get("spec") or {}
        unchanged_s = time.monotonic() - self._seen_at
        taken = _holder(lease) not in ("", self._identity)
        if taken and unchanged_s < float(spec.get("leaseDurationSeconds", LEASE_S)):
            return False
        lease["spec"] = self._spec(spec)
        self._lease = await self._client.replace(LEASE, lease)
        return True

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(LEASE_S),
            "acquireTime": before["acquireTime"] if mine else now,
            "renewTime": now,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if mine else 1),
        }


def _holder(lease: dict[str, Any]) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
