"""The CRD files that users install say what the classes say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api import crd

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "chart" / "crds"
MANIFESTS = crd.manifests()


def schema_of(plural: str) -> dict[str, Any]:
    return MANIFESTS[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nested(schema: dict[str, Any], *, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """``schema`` and every schema inside it, each with its path."""
    yield path, schema
    for name, value in schema.get("properties", {}).items():
        yield from nested(value, path=f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from nested(schema[word], path=f"{path}[]")


ALL_SCHEMAS = [pair for plural in MANIFESTS for pair in nested(schema_of(plural), path=plural)]


@pytest.mark.parametrize("plural", sorted(MANIFESTS))
def test_file_is_what_the_classes_give(plural: str) -> None:
    wanted = crd.render(MANIFESTS[plural])
    assert (FOLDER / f"{plural}.yaml").read_text() == wanted, "run `make generate` and commit what it writes"


def test_folder_holds_nothing_else() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(MANIFESTS)


def test_only_the_node_cache_is_cluster_scoped() -> None:
    scopes = {plural: manifest["spec"]["scope"] for plural, manifest in MANIFESTS.items()}
    assert scopes == {"models": "Namespaced", "warmsets": "Namespaced", "nodecaches": "Cluster"}


def test_status_is_a_subresource_everywhere() -> None:
    assert all(m["spec"]["versions"][0]["subresources"] == {"status": {}} for m in MANIFESTS.values())


def test_schemas_are_structural() -> None:
    """No references, alternatives or defaults, and a type on every level."""
    for path, schema in ALL_SCHEMAS:
        assert not {"$ref", "anyOf", "allOf", "oneOf", "default", "title"} & schema.keys(), path
        assert "type" in schema, path


def test_every_list_says_how_it_merges() -> None:
    lists = {path: schema for path, schema in ALL_SCHEMAS if schema["type"] == "array"}
    assert lists
    for path, schema in lists.items():
        kind = schema["x-kubernetes-list-type"]
        assert kind in ("atomic", "set", "map"), path
        keys = schema.get("x-kubernetes-list-map-keys", [])
        assert bool(keys) == (kind == "map"), path
        assert set(keys) <= set(schema["items"].get("required", [])), f"{path}: a map key must be required"


def test_table_of_lists_and_rules_names_only_fields_that_exist() -> None:
    """A renamed field would otherwise lose its list type or its rule in silence."""
    text = "".join(crd.render(manifest) for manifest in MANIFESTS.values())
    special = [schema for _, schema in ALL_SCHEMAS if schema.get("x-kubernetes-list-type") in ("set", "map")]
    assert len(special) == sum("atomic" not in value.values() for value in crd.LISTS.values())
    for rules in crd.RULES.values():
        for rule in rules:
            assert rule["message"] in text


def test_descriptions_patterns_and_bounds_come_from_the_classes() -> None:
    source = schema_of("models")["properties"]["spec"]["properties"]["source"]
    assert source["maxLength"] == 2048
    assert source["description"].startswith("The reference")
    placement = schema_of("warmsets")["properties"]["spec"]["properties"]["placement"]
    assert placement["properties"]["groups"]["properties"]["count"]["minimum"] == 1
    assert placement["properties"]["groups"]["required"] == ["count", "size"]


def test_columns_are_those_users_look_for() -> None:
    version = MANIFESTS["warmsets"]["spec"]["versions"][0]
    names = [column["name"] for column in version["additionalPrinterColumns"]]
    assert names == ["Models", "Warm", "Groups", "Of", "Nodes", "Of", "Size", "ETA", "Age"]
