"""Events (events.k8s.io/v1): what happened, said once, on the object that a person looks at."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from api.errors import ClusterUnavailable
from kube.client import ApiError, Client
from kube.resources import EVENT

MOST_REMEMBERED = 10_000
CHANGED_AFTER_S = 60.0  # numbers in a message may change every second
CLUSTER_SCOPED = "default"  # where events about cluster-scoped objects live

log = structlog.get_logger()


class Events:
    """What is said about an object with one reason is not said again for a while, unless it has changed, and
    then not at once. A failure to write is only logged."""

    def __init__(self, client: Client, *, instance: str) -> None:
        self._client = client
        self._instance = instance
        self._said: dict[tuple[str, str], tuple[str, float]] = {}  # message and when, by UID and reason

    async def say(
        self,
        about: dict[str, Any],
        *,
        reason: str,
        message: str,
        action: str,
        kind: Literal["Normal", "Warning"] = "Normal",
    ) -> None:
        """``about`` has apiVersion, kind and metadata (namespace, name, uid)."""
        meta = about["metadata"]
        key = (meta.get("uid", ""), reason)
        before, at = self._said.get(key, ("", -CHANGED_AFTER_S))
        if message == before or time.monotonic() - at < CHANGED_AFTER_S:
            return
        if len(self._said) >= MOST_REMEMBERED:
            self._said.clear()
        self._said[key] = (message, time.monotonic())
        digest = hashlib.sha256("\n".join((*key, message)).encode()).hexdigest()[:16]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        namespace = meta.get("namespace") or CLUSTER_SCOPED
        body = {
            "metadata": {"name": f"{meta['name'][:200]}.{digest}", "namespace": namespace},
            "eventTime": now,
            "type": kind,
            "reason": reason,
            "action": action,
            "note": message[:1024],  # the API's bound
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": meta.get("namespace", ""),
                "name": meta["name"],
                "uid": meta.get("uid", ""),
            },
            "reportingController": "warmset.dev/controller",
            "reportingInstance": self._instance[:128],
        }
        try:
            await self._client.create(EVENT, body, namespace=namespace)
        except (ApiError, ClusterUnavailable) as error:
            if not (isinstance(error, ApiError) and error.status == 409):  # said before a restart
                log.info("event.not_written", reason=reason, about=meta["name"], error=str(error))
