"""The admission webhook: AdmissionReview v1 in, a JSON patch or a refusal out.

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
from controller.mutate import mutate
from controller.requests import requests
from controller.resources import MODEL
from controller.world import World
from kube.client import ApiError, Client

MIRROR = "kubernetes.io/config.mirror"

log = structlog.get_logger()


class Webhook:
    """Reads Models from the controller's copy, and from the API server when the copy lacks one."""

    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world

    async def review(self, body: bytes) -> dict[str, Any]:
        """The answer to an AdmissionReview. Raises InvalidRequest when the body is none."""
        request = _parse(body)
        response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
        pod, namespace = request.get("object"), request.get("namespace", "")
        if request.get("operation") == "CREATE" and isinstance(pod, dict) and not _is_mirror(pod):
            try:
                patch = mutate(pod, namespace=namespace, models=await self._models(pod, namespace))
            except WarmsetError as error:
                response |= {"allowed": False, "status": _refusal(error)}
                log.info("pod.refused", namespace=namespace, reason=error.reason, message=error.message)
            else:
                if patch:
                    encoded = base64.b64encode(msgspec.json.encode(patch)).decode()
                    response |= {"patchType": "JSONPatch", "patch": encoded}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

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


def _is_mirror(pod: dict[str, Any]) -> bool:
    return MIRROR in (pod.get("metadata", {}).get("annotations") or {})


def _refusal(error: WarmsetError) -> dict[str, Any]:
    code = 404 if isinstance(error, NotFound) else 503 if error.retryable else 400
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    return {"status": "Failure", "code": code, "reason": error.reason, "message": f"warmset: {message}"}
