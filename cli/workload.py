"""``--for KIND/NAME``: the workload that a user names, as a WarmSet for it."""

from __future__ import annotations

import asyncio

from api.errors import InvalidRequest, NotFound
from api.resources import WorkloadPlacement
from cli.cluster import find
from controller.admission.generated import within
from controller.cluster.owners import KINDS
from controller.groups.owner import of_object
from controller.groups.templates import expected, teller
from controller.models.requests import requests
from controller.warm_sets.naming import warm_set_name
from kube.client import Client, Object
from kube.resources import Resource

# As kubectl has them; where two API groups share a kind, the first in KINDS is meant.
_SHORT = {
    "deploy": "Deployment", "sts": "StatefulSet", "rs": "ReplicaSet", "ds": "DaemonSet", "lws": "LeaderWorkerSet",
    "isvc": "InferenceService", "llmisvc": "LLMInferenceService", "ksvc": "Service", "pcs": "PodCliqueSet",
}  # fmt: skip


async def warm_set_for(client: Client, text: str, *, namespace: str, groups: int | None) -> Object:
    """The WarmSet that keeps ``groups`` groups of the workload warm, as many as it asks for itself by default.

    Raises InvalidRequest or NotFound.
    """
    kind, _, name = text.partition("/")
    resources = _resources(kind)
    if not resources or not name:
        known = ", ".join(sorted({resource.kind for resource in KINDS.values()}))
        raise InvalidRequest(f"--for: {text[:80]!r} is not KIND/NAME", hint=f"kinds: {known}")
    found = await asyncio.gather(*(find(client, resource, name, namespace=namespace) for resource in resources))
    obj = next((one for one in found if one is not None), None)
    if obj is None:
        raise NotFound(f"there is no {resources[0].kind} {name!r} in namespace {namespace!r}")
    kinds = expected(await _teller(client, obj, namespace=namespace))
    if not kinds:
        raise InvalidRequest(f"what pods a {resources[0].kind} makes is not known beforehand", hint="use --groups")
    asked = {request.model for made in kinds for pod in made.pods for request in requests(pod, namespace=namespace)}
    if not asked:
        raise InvalidRequest(f"the pods of {text} ask for no model", hint="annotate their template: warmset.dev/model")
    owner = of_object(obj)
    meta = {
        "name": warm_set_name(owner),
        "ownerReferences": [{"apiVersion": owner.api_version, "kind": owner.kind, "name": name, "uid": owner.uid}],
    }
    workload: Object = {"apiVersion": owner.api_version, "kind": owner.kind, "name": name}
    workload["keepWarmGroups"] = groups or max(1, *(made.groups for made in kinds))
    models = sorted(within(model, namespace) for model in asked)
    return {"metadata": meta, "spec": {"models": models, "placement": {"workload": workload}}}


async def _teller(client: Client, obj: Object, *, namespace: str) -> Object:
    """The object that has the workload's templates."""
    asked = WorkloadPlacement(api_version=obj["apiVersion"], kind=obj["kind"], name=obj["metadata"]["name"])
    told = teller(asked)
    if told == asked:
        return obj
    resource = KINDS[told.api_version, told.kind]
    found = await find(client, resource, told.name, namespace=namespace)
    if found is None:
        raise NotFound(f"the {told.kind} of {asked.kind} {asked.name!r} is not there yet", hint="try again in a moment")
    return found


def _resources(kind: str) -> list[Resource]:
    wanted = _SHORT.get(kind.lower(), kind).lower()
    return [r for r in KINDS.values() if wanted in (r.kind.lower(), r.plural, f"{r.plural}.{r.group}")]
