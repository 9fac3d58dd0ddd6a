"""The only writer of NodeCache.spec. One object a Node, named like it and owned by it.

Every write carries the resourceVersion it was decided on: a controller that only believes to lead loses to the one
that does, and its next decision starts from what the other wrote.
"""

from __future__ import annotations

import msgspec

from api.resources import API_VERSION, NodeCache, NodeCacheSpec
from controller.objects.nodes import NodeView
from controller.objects.resources import NODE_CACHE
from kube.client import Client, Object


async def write(client: Client, *, node: NodeView, cache: NodeCache | None, spec: NodeCacheSpec) -> Object | None:
    """Make the NodeCache say ``spec``; returns what was written, or None when it says so already.

    Raises ApiError, with status 409 when our copy was not the newest, and ClusterUnavailable.
    """
    if cache is not None and not _owned_by(cache, node):
        # Left from an earlier node of this name. Its status speaks of another disk, so it is not carried over.
        await client.delete(NODE_CACHE, cache.metadata.name, uid=cache.metadata.uid)
        cache = None
    if cache is None:
        return await client.create(NODE_CACHE, _object(node, spec))
    if cache.spec == spec:
        return None
    body = _object(node, spec)
    body["metadata"] |= {
        "resourceVersion": cache.metadata.resource_version,
        "uid": cache.metadata.uid,
        "labels": cache.metadata.labels,
        "annotations": cache.metadata.annotations,
    }
    return await client.replace(NODE_CACHE, body)


def _owned_by(cache: NodeCache, node: NodeView) -> bool:
    return any(owner.kind == "Node" and owner.uid == node.uid for owner in cache.metadata.owner_references)


def _object(node: NodeView, spec: NodeCacheSpec) -> Object:
    owner = {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid}
    return {
        "apiVersion": API_VERSION,
        "kind": NodeCache.__name__,
        "metadata": {"name": node.name, "ownerReferences": [owner]},
        "spec": msgspec.to_builtins(spec),
    }
