"""Objects that the controller makes for annotated pods: the Model of a bare reference, the WarmSet of a workload.

Both are owned by the pod's top-level owner and go with it. One made Model may serve several workloads of a
namespace (its name is a hash of reference and Secret), so each is added as an owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from api.errors import WarmsetError
from api.resources import API_VERSION, Model, Placement, WarmSet
from controller.cluster.world import World
from controller.groups import Owner
from controller.models.requests import Request, requests
from controller.objects.pods import Pod, models
from controller.objects.resources import MODEL, WARM_SET
from controller.warm_sets.naming import warm_set_name
from kube.client import ApiError, Client
from kube.reflector import Key
from kube.resources import Resource


async def ensure_models(client: Client, world: World, pod: Pod, *, top: Owner) -> None:
    """The Models of the pod's bare references. Raises ApiError or ClusterUnavailable."""
    namespace = pod["metadata"]["namespace"]
    mounted = {mount.model for mount in models(pod)}
    try:
        asked = requests(pod, namespace=namespace)
    except WarmsetError:
        return  # the annotation was edited after admission; what the volumes name is what counts
    await ensure_bare(client, world, (request for request in asked if request.model in mounted), top=top)


async def ensure_bare(client: Client, world: World, asked: Iterable[Request], *, top: Owner) -> None:
    """The Models of the bare references among ``asked``. Raises ApiError or ClusterUnavailable."""
    for request in asked:
        if request.source:
            await _ensure_model(client, world.models.get(request.model), request, top)


async def ensure_warm_set(client: Client, world: World, pod: Pod, *, top: Owner) -> None:
    """The WarmSet of the pod's workload, naming at least this pod's models. Raises ApiError or ClusterUnavailable."""
    namespace = pod["metadata"]["namespace"]
    wanted = [within(mount.model, namespace) for mount in models(pod)]
    if not wanted:
        return
    key = (namespace, warm_set_name(top))
    known = world.warm_sets.get(key)
    if known is None:
        body = {
            "apiVersion": API_VERSION,
            "kind": "WarmSet",
            "metadata": {"name": key[1], "namespace": namespace, "ownerReferences": [_reference(top)]},
            "spec": {
                "models": wanted,
                "placement": {"workload": {"apiVersion": top.api_version, "kind": top.kind, "name": top.name}},
            },
        }
        await _create_once(client, WARM_SET, body)
    elif known.spec.placement.workload is not None and not set(wanted) <= set(known.spec.models):
        await set_models(client, known, list(dict.fromkeys([*known.spec.models, *wanted])))


async def ensure_warm_nodes(
    client: Client, world: World, asked: Iterable[Request], nodes: Sequence[str], *, top: Owner, key: Key
) -> None:
    """WarmSet ``key`` over exactly these nodes, owned by ``top``. Raises ApiError or ClusterUnavailable."""
    known = world.warm_sets.get(key)
    if known is None:
        names = list(dict.fromkeys(within(request.model, key[0]) for request in asked))
        meta = {"name": key[1], "namespace": key[0], "ownerReferences": [_reference(top)]}
        spec = {"models": names, "placement": {"nodes": list(nodes)}}
        body = {"apiVersion": API_VERSION, "kind": "WarmSet", "metadata": meta, "spec": spec}
        await _create_once(client, WARM_SET, body)
    elif known.spec.placement.nodes is not None and known.spec.placement.nodes != list(nodes):
        moved = msgspec.structs.replace(known.spec, placement=Placement(nodes=list(nodes)))
        await client.replace(WARM_SET, msgspec.to_builtins(msgspec.structs.replace(known, spec=moved)))


async def _ensure_model(client: Client, known: Model | None, request: Request, top: Owner) -> None:
    if known is None:
        spec: dict[str, Any] = {"source": request.source}
        if request.secret:
            spec["secretRef"] = {"name": request.secret}
        if request.pull_secrets:
            spec["pullSecrets"] = list(request.pull_secrets)
        if request.layout != "plain":
            spec["layout"] = request.layout
        meta = {"name": request.name, "namespace": request.namespace, "ownerReferences": [_reference(top)]}
        await _create_once(client, MODEL, {"apiVersion": API_VERSION, "kind": "Model", "metadata": meta, "spec": spec})
    elif not any(owner.uid == top.uid for owner in known.metadata.owner_references):
        owners = [msgspec.to_builtins(owner) for owner in known.metadata.owner_references] + [_reference(top)]
        patch = {"metadata": {"resourceVersion": known.metadata.resource_version, "ownerReferences": owners}}
        await client.patch(MODEL, request.name, patch, namespace=request.namespace)


async def _create_once(client: Client, resource: Resource, body: dict[str, Any]) -> None:
    try:
        await client.create(resource, body, namespace=body["metadata"]["namespace"])
    except ApiError as error:
        if error.status != 409:  # our copy has not seen it yet
            raise


async def set_models(client: Client, warm_set: WarmSet, names: list[str]) -> None:
    spec = msgspec.structs.replace(warm_set.spec, models=names)
    await client.replace(WARM_SET, msgspec.to_builtins(msgspec.structs.replace(warm_set, spec=spec)))


def within(model: str, namespace: str) -> str:
    where, _, name = model.partition("/")
    return name if where == namespace else model


def _reference(top: Owner) -> dict[str, str]:
    # Without blockOwnerDeletion: that would need rights on every kind of workload.
    return {"apiVersion": top.api_version, "kind": top.kind, "name": top.name, "uid": top.uid}
