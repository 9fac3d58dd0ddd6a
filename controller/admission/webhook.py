"""The admission webhooks: AdmissionReview v1 in, a JSON patch or a refusal out.

Free of side effects, so that dry runs are what they say: a Model for a bare reference is made by the controller
when it sees the pod, not here.
"""

from __future__ import annotations

import base64
from typing import Any, cast

import msgspec
import structlog

from api.errors import ClusterUnavailable, InvalidRequest, NotFound, WarmsetError
from api.resources import Model
from controller.admission.inherited import inherited
from controller.admission.mutate import Operation, mutate
from controller.cluster.owners import Owners
from controller.cluster.world import World
from controller.models.requests import requests
from controller.objects.resources import MODEL
from kube.client import ApiError, Client

MIRROR = "kubernetes.io/config.mirror"

log = structlog.get_logger()


class Webhook:
    """Reads Models from the controller's copy, and from the API server when the copy lacks one."""

    def __init__(self, client: Client, world: World, owners: Owners, *, host_path_root: str = "") -> None:
        self._host_path_root = host_path_root
        self._client = client
        self._world = world
        self._owners = owners

    async def review(self, body: bytes) -> dict[str, Any]:
        """The answer about a pod that asks. Raises InvalidRequest when the body is no AdmissionReview."""
        request = _parse(body)
        pod, namespace = _created(request)
        try:
            models = await self._models(pod, namespace) if pod else {}
            root = self._host_path_root
            patch = mutate(pod, namespace=namespace, models=models, host_path_root=root) if pod else []
        except WarmsetError as error:
            log.info("pod.refused", namespace=namespace, reason=error.reason, message=error.message)
            return _review({"uid": request["uid"], "allowed": False, "status": _refusal(error)})
        return _answer(request, patch)

    async def inherit(self, body: bytes) -> dict[str, Any]:
        """The answer about a pod whose owners may ask for it: their annotations, no more. The entry for pods that
        ask is called after this one, and does the rest. Raises InvalidRequest, ApiError or ClusterUnavailable."""
        request = _parse(body)
        pod, namespace = _created(request)
        found = inherited(pod, owners=await self._owners.chain(pod, namespace=namespace)) if pod else {}
        if not found:
            return _answer(request, [])
        annotations = {**(pod["metadata"].get("annotations") or {}), **found}
        return _answer(request, [{"op": "add", "path": "/metadata/annotations", "value": annotations}])

    async def _models(self, pod: dict[str, Any], namespace: str) -> dict[str, Model]:
        found: dict[str, Model] = {}
        for request in requests(pod, namespace=namespace):
            model = self._world.models.get(request.model)
            if model is None and not request.source:
                model = await self._read(request.namespace, request.name)
            if model is not None:
                found[request.model] = model
        return found

    async def _read(self, namespace: str, name: str) -> Model | None:
        try:
            return msgspec.convert(await self._client.get(MODEL, name, namespace=namespace), type=Model)
        except ApiError as error:
            if error.status == 404:
                return None
            raise ClusterUnavailable(f"cannot read Model {namespace}/{name}: {error}") from error


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(body)["request"]
        if not isinstance(request["uid"], str):
            raise InvalidRequest("the AdmissionReview's request has no uid")
        return cast("dict[str, Any]", request)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise InvalidRequest("not an AdmissionReview with a request") from error


def _created(request: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The pod that is being created, empty where there is none that kubelet would read; and its namespace."""
    pod = request.get("object")
    ours = request.get("operation") == "CREATE" and isinstance(pod, dict) and not _is_mirror(pod)
    return (pod if ours and isinstance(pod, dict) else {}), request.get("namespace", "")


def _answer(request: dict[str, Any], patch: list[Operation]) -> dict[str, Any]:
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    if patch:
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(msgspec.json.encode(patch)).decode()}
    return _review(response)


def _review(response: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def _is_mirror(pod: dict[str, Any]) -> bool:
    return MIRROR in (pod.get("metadata", {}).get("annotations") or {})


def _refusal(error: WarmsetError) -> dict[str, Any]:
    code = 404 if isinstance(error, NotFound) else 503 if error.retryable else 400
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    return {"status": "Failure", "code": code, "reason": error.reason, "message": f"warmset: {message}"}
