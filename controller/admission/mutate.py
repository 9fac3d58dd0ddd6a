"""What admission does to a pod that asks for weights: volumes, mounts, environment, label and gate.

Pure, and safe to run again on its own result: other webhooks may add containers after us and have us called once
more. Every list that changes is written back whole, which is safe because the API server applies the patch to the
very object it sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from api import keys
from api.errors import Forbidden, InvalidRequest, NotFound
from api.open_path import open_path
from api.resources import Layout, Model
from controller.admission.local_weights import without_local_weights
from controller.admission.storage_initializer import without_download
from controller.models.permitted import may_use
from controller.models.requests import Request, requests
from controller.objects import durations
from controller.objects.pods import Pod

Operation = dict[str, Any]


def mutate(pod: Pod, *, namespace: str, models: Mapping[str, Model], host_path_root: str = "") -> list[Operation]:
    """A JSON patch for the pod; empty when it asks for nothing or has all already.

    ``models`` holds, by ``namespace/name``, those the pod names; ``host_path_root`` is where its node shows them, in a
    cluster without CSI. Raises InvalidRequest, InvalidReference, NotFound or Forbidden with a message for the person
    whose pod is refused.
    """
    asked = requests(pod, namespace=namespace)
    if not asked:
        return []
    _check_max_hold(pod)
    preload = _preload(pod)
    revisions = {request.model: _revision(request, namespace=namespace, models=models) for request in asked}
    hub = next((request.path for request in asked if _layout(request, models) == "hf"), "")
    before: Mapping[str, Any] = pod["spec"]
    paths = {request.path for request in asked}
    spec = without_local_weights(without_download(before, paths=paths), paths=paths)
    operations = _changed("/spec/initContainers", before.get("initContainers"), spec.get("initContainers"))
    volumes = list(spec.get("volumes") or ())
    for request in asked:
        if not any(volume["name"] == _volume_name(request) for volume in volumes):
            if host_path_root:
                volumes.append(_host_path(request, models.get(request.model), root=host_path_root))
            else:
                volumes.append(_volume(request, revisions[request.model], preload=preload))
    operations += _changed("/spec/volumes", before.get("volumes"), volumes)
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            path = f"/spec/{field}/{index}"
            mounts, environment = _mounts(container, asked), _environment(container, asked, hub=hub)
            # Init containers were written back just now, if any was taken out.
            there = before["containers"][index] if field == "containers" else container
            operations += _changed(f"{path}/volumeMounts", there.get("volumeMounts"), mounts)
            operations += _changed(f"{path}/env", container.get("env"), environment)
    labels = pod["metadata"].get("labels")
    operations += _changed("/metadata/labels", labels, {**(labels or {}), keys.MANAGED_LABEL: "true"})
    if not spec.get("nodeName"):  # bound at creation: a gate is refused there, and the mount waits instead
        gates = list(spec.get("schedulingGates") or ())
        if not any(gate["name"] == keys.GATE for gate in gates):
            gates.append({"name": keys.GATE})
        operations += _changed("/spec/schedulingGates", spec.get("schedulingGates"), gates)
    return operations


def _revision(request: Request, *, namespace: str, models: Mapping[str, Model]) -> str:
    """The revision that this pod will get, where it is known already; a bare reference's Model may not exist yet."""
    model = models.get(request.model)
    if model is None and request.source:
        return ""
    if model is None or not may_use(model, namespace=namespace):
        # One answer for both, so that nobody can ask which Models other namespaces have.
        raise NotFound(
            f"Model {request.model!r} does not exist or namespace {namespace!r} may not use it",
            hint="create the Model, or list this namespace in its spec.allowedNamespaces",
        )
    current = model.status.observed_generation == model.metadata.generation
    return model.status.revision if current else ""


def _volume_name(request: Request) -> str:
    return f"warmset-{keys.model_key(request.namespace, request.name)[:10]}"


def _preload(pod: Pod) -> bool:
    value = (pod["metadata"].get("annotations") or {}).get(keys.PRELOAD, "false")
    if value not in ("true", "false"):
        raise InvalidRequest(f"{keys.PRELOAD} must be 'true' or 'false', not {value[:200]!r}")
    return bool(value == "true")


def _volume(request: Request, revision: str, *, preload: bool) -> dict[str, Any]:
    attributes = {keys.ATTRIBUTE_MODEL: request.model}
    if revision:
        attributes[keys.ATTRIBUTE_REVISION] = revision
    if preload:
        attributes[keys.ATTRIBUTE_PRELOAD] = "true"
    csi = {"driver": keys.CSI_DRIVER, "readOnly": True, "volumeAttributes": attributes}
    return {"name": _volume_name(request), "csi": csi}


def _host_path(request: Request, model: Model | None, *, root: str) -> dict[str, Any]:
    """kubelet waits until the folder is there (type Directory). Its path has the revision, so that must be known."""
    if model is None:
        raise InvalidRequest(
            "references are not taken in a cluster without CSI", hint="create a Model for it, open to all namespaces"
        )
    if "*" not in model.spec.allowed_namespaces:
        raise Forbidden(
            f"Model {request.model} is not open to all namespaces, and in this cluster pods mount by hostPath",
            hint="list '*' in its spec.allowedNamespaces if every pod of the cluster may read it",
        )
    path = open_path(PurePosixPath(root), model=request.model, revision=model.status.revision)
    if path is None or model.status.observed_generation != model.metadata.generation:
        raise NotFound(f"Model {request.model} has no revision yet", hint="see its condition Resolved, then try again")
    return {"name": _volume_name(request), "hostPath": {"path": str(path), "type": "Directory"}}


def _mounts(container: Mapping[str, Any], asked: Sequence[Request]) -> list[dict[str, Any]]:
    mounts = list(container.get("volumeMounts") or ())
    for request in asked:
        there = next((m for m in mounts if m["mountPath"].rstrip("/") == request.path), None)
        if there is None:
            mounts.append({"name": _volume_name(request), "mountPath": request.path, "readOnly": True})
        elif there["name"] != _volume_name(request):
            raise InvalidRequest(
                f"container {container['name']!r} already mounts volume {there['name']!r} at {request.path}",
                hint=f"choose another place for the model with {keys.PATH}",
            )
    return mounts


def _layout(request: Request, models: Mapping[str, Model]) -> Layout:
    model = models.get(request.model)
    return request.layout if model is None else model.spec.layout


def _environment(container: Mapping[str, Any], asked: Sequence[Request], *, hub: str) -> list[dict[str, Any]]:
    """Tells the first model's path, and where the Hub's library finds its cache, unless the container does itself."""
    environment = list(container.get("env") or ())
    told = {keys.ENV_MODEL_PATH: asked[0].path}
    if hub:
        told |= {keys.ENV_HUB_CACHE: hub, keys.ENV_HUB_OFFLINE: "1"}
    names = {variable["name"] for variable in environment}
    return environment + [{"name": name, "value": value} for name, value in told.items() if name not in names]


def _check_max_hold(pod: Pod) -> None:
    text = (pod["metadata"].get("annotations") or {}).get(keys.MAX_HOLD)
    if text is not None:
        durations.seconds(text)


def _changed(path: str, before: Any, after: Any) -> list[Operation]:
    return [] if before == after or (not before and not after) else [{"op": "add", "path": path, "value": after}]
