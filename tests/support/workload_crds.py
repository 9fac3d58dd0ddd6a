"""CustomResourceDefinitions of other projects, made of the short schemas in workload_schemas.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kube.client import Client, Object
from kube.resources import Resource
from tests.support import crds

Schema = dict[str, Any]

SCHEMAS: list[Schema] = yaml.safe_load((Path(__file__).parent / "workload_schemas.yaml").read_text())
_ANY: Schema = {"x-kubernetes-preserve-unknown-fields": True}
_MAP: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_TEMPLATE = {"metadata": {"annotations": "map", "labels": "map", "name": "string"}, "spec": "any"}


def resource_of(apiVersion: str, kind: str) -> Resource:  # as the field is called
    (schema,) = (s for s in SCHEMAS if (s["apiVersion"], s["kind"]) == (apiVersion, kind))
    return _resource(schema)


async def dry_run(client: Client, resource: Resource, body: Object, *, namespace: str | None) -> Object:
    """As `kubectl create --dry-run=server --validate=strict`. Raises ApiError."""
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    return await client._call("POST", resource.path(namespace=namespace), query=query, body=body)


async def define(client: Client) -> None:
    """One definition a kind; the versions of one kind would have to be merged, of which there is no case."""
    await crds.install(client, *map(definition, SCHEMAS))


async def undefine(client: Client) -> None:
    await crds.uninstall(client, *map(_resource, SCHEMAS))


def definition(schema: Schema) -> Object:
    """Of one short schema, as the file has them."""
    properties = {name: _expand(value) for name, value in schema["fields"].items()} | {"metadata": {"type": "object"}}
    return crds.definition(_resource(schema), schema={"type": "object", "properties": properties})


def _resource(schema: Schema) -> Resource:
    group, _, version = schema["apiVersion"].partition("/")
    namespaced = schema.get("scope", "Namespaced") == "Namespaced"
    return Resource(group, version, schema["plural"], schema["kind"], namespaced=namespaced)


def _expand(value: Any) -> Schema:
    if isinstance(value, dict):
        return {"type": "object", "properties": {name: _expand(inner) for name, inner in value.items()}}
    if isinstance(value, list):
        return {"type": "array", "items": _expand(value[0])}
    known = {"any": _ANY, "map": _MAP}
    return _expand(_TEMPLATE) if value == "template" else known.get(value, {"type": value})
