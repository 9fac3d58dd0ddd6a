"""The CustomResourceDefinitions, derived from the classes of api.resources.

Descriptions, patterns and bounds come from the classes. What JSON schema from a class cannot say stands in the
tables below: printer columns, which lists are maps or sets (so that server-side apply merges them and the API
server refuses duplicates), and rules in CEL. Defaults are left out on purpose: an object keeps the size it was
written with, and a reader's class fills them in.

Structural schemas: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions".
"""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from api.fields import Wire
from api.reference import SCHEMES
from api.resources import GROUP, VERSION, Model, NodeCache, WarmSet

Schema = dict[str, Any]

# A node reads sources for other people's pods; a path on its own disk is not a source there.
_CLUSTER_SCHEMES = tuple(scheme for scheme in SCHEMES if scheme != "file")


def _map(*keys: str) -> Schema:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


_SET: Schema = {"x-kubernetes-list-type": "set"}
_ATOMIC: Schema = {"x-kubernetes-list-type": "atomic"}  # the API server's own default, said aloud

LISTS: dict[str, Schema] = {
    "ModelSpec.allowedNamespaces": _SET,
    "ModelStatus.conditions": _map("type"),
    "ModelStatus.known": _map("revision"),
    "WarmSetSpec.models": _SET,
    "WarmSetSpec.images": _SET,
    "Placement.nodes": _SET,
    "WarmSetStatus.conditions": _map("type"),
    "WarmSetStatus.groups": _map("name"),
    "WarmGroup.nodes": _map("name"),
    # Two revisions of one model lie side by side during a rollout.
    "NodeCacheSpec.models": _map("model", "revision"),
    "NodeModel.groups": _SET,
    "NodeCacheStatus.models": _map("model", "revision"),
}

# By "Class" for a rule over an object, "Class.field" for one over a field.
RULES: dict[str, list[Schema]] = {
    "ModelSpec.source": [
        {
            "rule": f"self.matches('^({'|'.join(_CLUSTER_SCHEMES)})://[^/]')",
            "message": f"must begin with one of {', '.join(f'{s}://' for s in _CLUSTER_SCHEMES)}",
        },
        {
            "rule": "!self.matches('^[a-z0-9]+://[^/]*@')",
            "message": "must not hold credentials; name a Secret in spec.secretRef",
        },
        {
            "rule": r"!self.matches('[\\s?#]')",
            "message": "must not hold white space, a query or a fragment (a signed query is a credential)",
        },
    ],
    "ModelSpec": [
        {
            "rule": "!has(self.secretRef) || !has(self.pullSecrets)",
            "message": "give secretRef or pullSecrets, not both",
        },
        {
            "rule": "!has(self.layout) || self.layout == 'plain' || self.source.startsWith('hf://')",
            "message": "layout hf is for sources on the Hub: hf://org/name",
        },
        {
            # The revision stays the same, so that no node would learn of it.
            "rule": "(has(self.layout) && self.layout == 'hf') == (has(oldSelf.layout) && oldSelf.layout == 'hf')",
            "message": "layout is fixed at creation; make another Model",
        },
    ],
    "Model": [
        {
            # As of the layout; before, an edit mends what cannot be pulled.
            "rule": "!has(oldSelf.status) || !has(oldSelf.status.conditions)"
            " || !oldSelf.status.conditions.exists(c, c.type == 'Verified' && c.status == 'True')"
            " || (has(self.spec.files) == has(oldSelf.spec.files)"
            " && (!has(self.spec.files) || self.spec.files == oldSelf.spec.files))",
            "message": "spec.files is fixed once a node holds the model; make another Model",
        },
    ],
    "Placement": [
        {
            "rule": "[has(self.nodeSelector), has(self.nodes), has(self.groups), has(self.workload)]"
            ".exists_one(given, given)",
            "message": "exactly one of nodeSelector, nodes, groups and workload must be given",
        }
    ],
}


def _column(name: str, path: str, *, kind: str = "string", wide: bool = False, about: str = "") -> Schema:
    column: Schema = {"name": name, "type": kind, "jsonPath": path}
    if about:
        column["description"] = about
    if wide:
        column["priority"] = 1  # shown by -o wide only
    return column


def _condition(kind: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].status'


_AGE = _column("Age", ".metadata.creationTimestamp", kind="date")

_COLUMNS: dict[type[Wire], list[Schema]] = {
    Model: [
        _column("Source", ".spec.source"),
        _column("Resolved", _condition("Resolved")),
        _column("Size", ".status.bytes", kind="integer", about="Bytes."),
        _column("Files", ".status.files", kind="integer", wide=True),
        _column("Revision", ".status.revision", wide=True),
        _AGE,
    ],
    WarmSet: [
        _column("Models", ".spec.models"),
        _column("Warm", _condition("Warm")),
        # A column shows one field, so "1 of 2" takes two.
        _column("Groups", ".status.groupsReady", kind="integer", about="Groups that are warm."),
        _column("Of", ".status.groupsDesired", kind="integer", about="Groups wanted."),
        _column("Nodes", ".status.nodesReady", kind="integer", about="Nodes that are warm."),
        _column("Of", ".status.nodesDesired", kind="integer", about="Nodes wanted."),
        _column("Size", ".status.bytes", kind="integer", about="Bytes of all its models on one node."),
        _column("ETA", ".status.eta"),
        _AGE,
    ],
    NodeCache: [
        _column("Used", ".status.used", kind="integer", about="Bytes."),
        _column("Reserved", ".status.reserved", kind="integer", about="Bytes promised to pulls under way."),
        _column("Capacity", ".status.capacity", kind="integer", about="Bytes."),
        _column("Agent", ".status.agent.version"),
        _column("Address", ".status.agent.address", wide=True),
        _column("Updated", ".status.lastUpdate", kind="date"),
        _AGE,
    ],
}


def manifests() -> dict[str, Schema]:
    """The three CustomResourceDefinitions by plural name."""
    return {crd["spec"]["names"]["plural"]: crd for crd in (_crd(kind) for kind in _COLUMNS)}


def render(manifest: Schema) -> str:
    """The text of a file that holds ``manifest``."""
    head = "# Generated from api/resources.py by `make generate`; change it there.\n"
    return head + yaml.safe_dump(manifest, sort_keys=False, width=120, allow_unicode=True)


def _crd(kind: type[Wire]) -> Schema:
    name = kind.__name__
    plural = f"{name.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster" if kind is NodeCache else "Namespaced",
            "names": {"kind": name, "listKind": f"{name}List", "plural": plural, "singular": name.lower()},
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _COLUMNS[kind],
                    "schema": {"openAPIV3Schema": _root_schema(kind)},
                }
            ],
        },
    }


def _root_schema(kind: type[Wire]) -> Schema:
    _, components = msgspec.json.schema_components([kind])
    root = _inline({"$ref": f"#/$defs/{kind.__name__}"}, components=components)
    # The API server knows these three; a CRD may not restrict metadata beyond its name.
    root["properties"].update(apiVersion={"type": "string"}, kind={"type": "string"}, metadata={"type": "object"})
    root["required"] = [name for name in root["required"] if name != "metadata"]
    return _without_empty_required(root)


def _inline(schema: Schema, *, components: Schema, place: str = "") -> Schema:
    """``schema`` as a structural schema: references resolved, no alternatives, no defaults.

    ``place`` names the field as ``Class.field``, the key of the tables above.
    """
    schema = {key: value for key, value in schema.items() if key not in ("title", "default")}
    if "anyOf" in schema:  # X | None: an optional field is left out, never null
        (kept,) = (option for option in schema.pop("anyOf") if option != {"type": "null"})
        return _inline(kept | schema, components=components, place=place)
    if "$ref" in schema:
        name = schema.pop("$ref").rpartition("/")[2]
        # What the field says of itself goes before its class's docstring.
        return _inline(components[name] | schema, components=components, place=name)
    validations = {"x-kubernetes-validations": RULES[place]} if place in RULES else {}
    if "properties" in schema:
        fields = {
            field: _inline(value, components=components, place=f"{place}.{field}")
            for field, value in schema["properties"].items()
        }
        return _without_empty_required(schema | {"properties": fields} | validations)
    if "enum" in schema:
        return {"type": "string"} | schema
    if schema["type"] == "array":
        schema = schema | {"items": _inline(schema["items"], components=components)} | LISTS.get(place, _ATOMIC)
    elif schema["type"] == "integer":
        schema = schema | {"format": "int64"}
    return schema | validations


def _without_empty_required(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if (key, value) != ("required", [])}
