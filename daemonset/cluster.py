"""This node's NodeCache: what the cluster wants here, read by a watch of one object, and what we answer.

The object is known by name, so that the API server serves the watch from its index. When it is missing, unreadable or
empty, nothing that the node holds is touched.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import structlog

from api.errors import ClusterUnavailable
from api.resources import GROUP, VERSION, NodeCache, NodeCacheStatus
from daemonset.changed import Changed
from daemonset.config import Cluster
from daemonset.pulling.desired import Desired, from_node_cache
from daemonset.report import Reporter
from kube.client import ApiError, Client, Object
from kube.reflector import Key, Reflector
from kube.resources import Resource

NODE_CACHE = Resource(GROUP, VERSION, "nodecaches", "NodeCache", namespaced=False)
FIELD_MANAGER = "warmset-agent"

log = structlog.get_logger()


class NodeCacheLink:
    """``on_desired`` gets every new list; ``on_new`` is called when the object is another one than before."""

    def __init__(
        self,
        client: Client,
        *,
        node: str,
        on_desired: Callable[[tuple[Desired, ...]], None],
        on_new: Callable[[], None],
    ) -> None:
        self._client = client
        self._node = node
        self._on_desired = on_desired
        self._on_new = on_new
        self._uid = ""
        self._owner_uid = ""
        self._reflector = Reflector(
            client, NODE_CACHE, field_selector=f"metadata.name={node}", on_change=self._on_change
        )

    @property
    def owner_uid(self) -> str:
        """UID of the Node that owns the object; empty while we do not know."""
        return self._owner_uid

    async def run(self) -> NoReturn:
        await self._reflector.run()

    async def write(self, status: NodeCacheStatus) -> None:
        """Raises ClusterUnavailable; the object's absence is one case of it."""
        wire = msgspec.to_builtins(status)
        # A merge patch keeps what it does not name: null for what our encoding leaves out.
        body = {"status": {name: wire.get(name) for name in NodeCacheStatus.__struct_encode_fields__}}
        try:
            await self._client.patch(
                NODE_CACHE, self._node, body, subresource="status", kind="merge", field_manager=FIELD_MANAGER
            )
        except ApiError as error:
            raise ClusterUnavailable(f"status of NodeCache {self._node}: {error}") from error

    def _on_change(self, key: Key, old: Object | None, new: Object | None) -> None:
        if new is None:
            log.warning("nodecache.gone", node=self._node)
            return
        try:
            cache = msgspec.convert(new, type=NodeCache)
        except msgspec.ValidationError as error:
            log.error("nodecache.unreadable", node=self._node, error=str(error))
            return
        self._owner_uid = next((o.uid for o in cache.metadata.owner_references if o.kind == "Node"), "")
        if cache.metadata.uid != self._uid:
            self._uid = cache.metadata.uid
            self._on_new()
        self._on_desired(from_node_cache(cache.spec))


@asynccontextmanager
async def joined(
    cluster: Cluster,
    *,
    node: str,
    status: Callable[[], Awaitable[NodeCacheStatus]],
    on_desired: Callable[[tuple[Desired, ...]], None],
    changed: Changed,
) -> AsyncIterator[dict[str, Coroutine[Any, Any, NoReturn]]]:
    """The jobs that keep the node in the cluster. ``status`` makes what to report, but for the node's UID.

    Raises ClusterUnavailable where there is nothing to connect with; an API server that is away is waited for.
    """
    async with await Client.connect(kubeconfig=cluster.kubeconfig) as client:

        async def current() -> NodeCacheStatus:
            node_uid = node_uid_of_token(cluster.broker.token_file) or link.owner_uid
            return msgspec.structs.replace(await status(), node_uid=node_uid)

        reporter = Reporter(current=current, write=lambda wanted: link.write(wanted), changed=changed)
        link = NodeCacheLink(client, node=node, on_desired=on_desired, on_new=reporter.forget)
        yield {"nodecache": link.run(), "report": reporter.run()}


def node_uid_of_token(token_file: Path) -> str:
    """UID of the node that a bound token names in its claims; empty where it names none.

    Read without checking the signature: it is our own token, and the API server checks it on every use.
    Claims: kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin, "Bound service account tokens".
    """
    try:
        payload = token_file.read_text().split(".")[1]
        claims: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["kubernetes.io"]["node"]["uid"])
    except (OSError, IndexError, KeyError, TypeError, ValueError, msgspec.DecodeError):
        return ""
