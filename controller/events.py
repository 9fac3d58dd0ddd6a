"""Events (events.k8s.io/v1): what happened, said once, on the object that a person looks at."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from api.errors import ClusterUnavailable
from kube.client import ApiError, Client
from kube.resources import EVENT

MOST_REMEMBERED = 10_000
CLUSTER_SCOPED = "default"  # where events about cluster-scoped objects live

log = structlog.get_logger()


class Events:
    """The same words about the same object are written once by one process. A failure to write is only logged."""

    def __init__(self, client: Client, *, instance: str) -> None:
        self._client = client
        self._instance = instance
        self._said: dict[str, None] = {}

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
        digest = hashlib.sha256(f"{meta.get('uid', '')}\n{reason}\n{message}".encode()).hexdigest()[:16]
        if digest in self._said:
            return
        if len(self._said) >= MOST_REMEMBERED:
            self._said.clear()
        self._said[digest] = None
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
