"""A local, level-triggered copy of a collection: one list, then watches, then a list again when history is lost.

Three layers, each for one class of failure. ``run`` never ends and backs off over any failure. ``_follow``
makes one list and as many watches as the server's history allows; a 410 ends it. ``_watch`` is one HTTP stream.
A connection that is half open shows itself by silence: the server sends a bookmark about every minute, once it has
seen the collection change, so a stream that stays silent for longer than IDLE_S is given up for a new one (kubernetes
API concepts, "Watch bookmarks").
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import aiohttp
import msgspec
import structlog

from api.errors import ClusterUnavailable
from kube.client import ApiError, Client, Object, backoff
from kube.resources import Resource

Key = tuple[str, str]  # namespace ("" for cluster-scoped), name
OnChange = Callable[[Key, Object | None, Object | None], None]  # key, old, new

IDLE_S = 150.0  # two missed bookmarks
WATCH_S = (240, 480)  # the server ends a watch after a random time in here, so that agents do not come back at once
MAX_EVENT_BYTES = 8 << 20  # etcd takes objects of 1.5 MiB; beyond this the stream is not what it says

log = structlog.get_logger()


class Reflector:
    """``items`` is the copy; it is complete once ``synced`` is set, and stays readable while the server is away.

    ``keep`` drops objects that do not matter (an object that stops mattering is seen as deleted); ``trim``
    reduces those that do, to save memory. ``on_change`` is called in the event loop, after ``items`` has changed;
    a repeated list calls it only for what differs.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        keep: Callable[[Object], bool] | None = None,
        trim: Callable[[Object], Object] | None = None,
        on_change: OnChange | None = None,
    ) -> None:
        self.synced = asyncio.Event()
        self.resource = resource
        self._client = client
        self._namespace = namespace
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._keep = keep
        self._trim = trim
        self._on_change = on_change
        self._items: dict[Key, Object] = {}

    @property
    def items(self) -> Mapping[Key, Object]:
        return MappingProxyType(self._items)

    async def run(self) -> NoReturn:
        """Keep the copy until cancelled."""
        failures = 0
        while True:
            # The first list may come from the server's cache; later ones must not be older than what we have seen.
            version = "" if self.synced.is_set() else "0"
            try:
                async for _ in self._follow(version):
                    failures = 0
            except (ClusterUnavailable, ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                log.warning("watch.failed", resource=self.resource.plural, error=str(error), failures=failures)
                await backoff(failures)
                failures = min(failures + 1, 10)

    async def _follow(self, version: str) -> AsyncIterator[None]:
        """One list and its watches. Yields at every sign of life; returns when the server forgot our version."""
        objects, version = await self._client.list_from(
            self.resource, namespace=self._namespace, resource_version=version, **self._selectors
        )
        self._replace(objects)
        self.synced.set()
        yield
        while True:
            try:
                async for event in self._watch(version):
                    obj = event["object"]
                    if event["type"] == "ERROR":
                        if obj.get("code") == 410:
                            return
                        raise ApiError(obj.get("code", 500), obj.get("reason", ""), obj.get("message", ""))
                    version = obj["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._apply(obj, deleted=event["type"] == "DELETED")
                    yield
            except ApiError as error:
                if error.status == 410:
                    return
                raise
            except (aiohttp.ClientError, TimeoutError) as error:
                # The stream broke; our version is still good, so go on from it without a list.
                # Silence is mostly that of a collection in which nothing has ever changed.
                say = log.debug if isinstance(error, TimeoutError) else log.info
                say("watch.broken", resource=self.resource.plural, error=str(error) or "silent")
                await backoff(0)

    async def _watch(self, version: str) -> AsyncIterator[dict[str, Any]]:
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(random.randint(*WATCH_S)),  # noqa: S311 (jitter, not a secret)
            "labelSelector": self._selectors["label_selector"],
            "fieldSelector": self._selectors["field_selector"],
        }
        path = self.resource.path(namespace=self._namespace)
        async with self._client.stream(path, query, idle_s=IDLE_S) as body:
            rest = b""
            async for data in body.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield msgspec.json.decode(line)
                if len(rest) > MAX_EVENT_BYTES:
                    raise ApiError(500, "TooLarge", f"an event of over {MAX_EVENT_BYTES} bytes")

    def _replace(self, objects: list[Object]) -> None:
        listed = set()
        for obj in objects:
            listed.add(_key(obj))
            self._apply(obj, deleted=False)
        for key in self._items.keys() - listed:
            self._change(key, None)

    def _apply(self, obj: Object, *, deleted: bool) -> None:
        key = _key(obj)
        if deleted or (self._keep and not self._keep(obj)):
            if key in self._items:
                self._change(key, None)
            return
        old = self._items.get(key)
        if old and old["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]:
            return
        self._change(key, self._trim(obj) if self._trim else obj)

    def _change(self, key: Key, new: Object | None) -> None:
        old = self._items.pop(key, None)
        if new is not None:
            self._items[key] = new
        if self._on_change:
            self._on_change(key, old, new)


def _key(obj: Object) -> Key:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]
