"""CustomResourceDefinitions of other projects, made of the short schemas in workload_schemas.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kube.client import Client, Object
from kube.resources import Resource
from tests.support.lws import CRDS

Schema = dict[str, Any]

SCHEMAS: list[Schema] = yaml.safe_load((Path(__file__).parent / "workload_schemas.yaml").read_text())
_ANY: Schema = {"x-kubernetes-preserve-unknown-fields": True}
_MAP: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_TEMPLATE = {"metadata": {"annotations": "map", "labels": "map", "name": "string"}, "spec": "any"}


def resource_of(apiVersion: str, kind: str) -> Resource:  # as the field is called
    (schema,) = (s for s in SCHEMAS if (s["apiVersion"], s["kind"]) == (apiVersion, kind))
    group, _, version = apiVersion.partition("/")
    return Resource(group, version, schema["plural"], kind, namespaced=_scope(schema) == "Namespaced")


def crds() -> list[Object]:
    """One definition a kind; the versions of one kind would have to be merged, of which there is no case."""
    return [_definition(schema) for schema in SCHEMAS]


async def dry_run(client: Client, resource: Resource, body: Object, *, namespace: str | None) -> Object:
    """As `kubectl create --dry-run=server --validate=strict`. Raises ApiError."""
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    return await client._call("POST", resource.path(namespace=namespace), query=query, body=body)


async def define(client: Client) -> None:
    for body in crds():
        await client.patch(CRDS, body["metadata"]["name"], body, kind="apply", force=True)


async def undefine(client: Client) -> None:
    for body in crds():
        await client.delete(CRDS, body["metadata"]["name"])


def _definition(schema: Schema) -> Object:
    group, _, version = schema["apiVersion"].partition("/")
    properties = {name: _expand(value) for name, value in schema["fields"].items()} | {"metadata": {"type": "object"}}
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{schema['plural']}.{group}",
            # The API server asks for this where a group ends in k8s.io.
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/enhancements"},
        },
        "spec": {
            "group": group,
            "scope": _scope(schema),
            "names": {"plural": schema["plural"], "singular": schema["kind"].lower(), "kind": schema["kind"]},
            "versions": [served],
        },
    }


def _scope(schema: Schema) -> str:
    return str(schema.get("scope", "Namespaced"))


def _expand(value: Any) -> Schema:
    if isinstance(value, dict):
        return {"type": "object", "properties": {name: _expand(inner) for name, inner in value.items()}}
    if isinstance(value, list):
        return {"type": "array", "items": _expand(value[0])}
    known = {"any": _ANY, "map": _MAP}
    return _expand(_TEMPLATE) if value == "template" else known.get(value, {"type": value})
