"""The API server takes the CRDs, and refuses by them what the classes would refuse."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.fields import ObjectMeta
from api.resources import (
    API_VERSION,
    GroupPlacement,
    Model,
    ModelSpec,
    NodeCache,
    NodeCacheSpec,
    NodeModel,
    Placement,
    WarmSet,
    WarmSetSpec,
)
from kube.client import ApiError, Client
from tests.integration.conftest import MODELS, NODE_CACHES, WARM_SETS

HEX = "0123456789abcdef" * 4


def model(source: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Model",
        "metadata": {"generateName": "m-"},
        "spec": {"source": source, **spec},
    }


def warm_set(placement: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "WarmSet",
        "metadata": {"generateName": "w-"},
        "spec": {"models": ["llama"], "placement": placement, **spec},
    }


def node_cache(*models: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "NodeCache",
        "metadata": {"generateName": "n-"},
        "spec": {"models": list(models)},
    }


@pytest.mark.parametrize(
    "source",
    [
        "oci://registry.example.com/models/llama-3-70b:v1",
        "oci://127.0.0.1:5000/llama",
        f"oci://registry.example.com/llama:v1@sha256:{HEX}",
        "hf://org/name@main",
        "s3://bucket/prefix",
        "https://example.com/llama",
    ],
)
async def test_a_source_without_credentials_is_taken(cluster: Client, source: str) -> None:
    await cluster.create(MODELS, model(source), namespace="default")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("file:///etc", "must begin with one of oci://"),
        ("llama-3-70b", "must begin with one of oci://"),
        ("oci://", "must begin with one of oci://"),
        ("oci://user:password@registry.example.com/llama", "must not hold credentials"),
        ("https://example.com/llama?X-Amz-Signature=0", "a signed query is a credential"),
        ("oci://registry.example.com/llama v1", "must not hold white space"),
        ("", "should be at least 1 chars long"),
        ("oci://r.example.com/" + "a" * 2048, "may not be more than 2048"),
    ],
)
async def test_a_bad_source_is_refused_with_its_reason(cluster: Client, source: str, said: str) -> None:
    with pytest.raises(ApiError, match=r"spec\.source") as refusal:
        await cluster.create(MODELS, model(source), namespace="default")
    assert refusal.value.status == 422
    assert said in refusal.value.message


async def test_a_model_s_layout_is_for_the_hub_and_stays(cluster: Client) -> None:
    with pytest.raises(ApiError, match="layout hf is for sources on the Hub"):
        await cluster.create(MODELS, model("oci://r.example.com/llama", layout="hf"), namespace="default")
    made = await cluster.create(MODELS, model("hf://org/name", layout="hf"), namespace="default")
    await cluster.replace(MODELS, made | {"spec": {**made["spec"], "platform": "linux/amd64"}})
    newest = await cluster.get(MODELS, made["metadata"]["name"], namespace="default")
    with pytest.raises(ApiError, match="layout is fixed at creation"):
        await cluster.replace(MODELS, newest | {"spec": {"source": "hf://org/name"}})


async def test_which_files_a_model_takes_may_be_mended_until_a_node_holds_them(cluster: Client) -> None:
    made = await cluster.create(
        MODELS, model("oci://r.example.com/llama", files={"include": ["*"]}), namespace="default"
    )
    source = made["spec"]["source"]
    mended = {"source": source, "files": {"include": ["*.gguf"]}}
    made = await cluster.replace(MODELS, made | {"spec": mended})
    condition = {
        "type": "Verified",
        "status": "True",
        "reason": "Verified",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    made = await cluster.replace(MODELS, made | {"status": {"conditions": [condition]}}, subresource="status")
    for edited in ({"source": source, "files": {"include": ["*"]}}, {"source": source}):
        with pytest.raises(ApiError, match="fixed once a node holds the model"):
            await cluster.replace(MODELS, made | {"spec": edited})
    await cluster.replace(MODELS, made | {"spec": mended | {"platform": "linux/amd64"}})


@pytest.mark.parametrize(
    "placement",
    [
        {},
        {"nodeSelector": {"pool": "gpu"}, "groups": {"count": 1, "size": 2}},
        {"groups": {"count": 1, "size": 2}, "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}},
        {"nodes": ["n1"], "nodeSelector": {}},
    ],
    ids=["none", "two", "two others", "nodes by name and by label"],
)
async def test_a_placement_is_exactly_one_of_four(cluster: Client, placement: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="exactly one of nodeSelector, nodes, groups and workload"):
        await cluster.create(WARM_SETS, warm_set(placement), namespace="default")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (warm_set({"groups": {"count": 0, "size": 2}}), "spec.placement.groups.count"),
        (warm_set({"groups": {"count": 1}}), "spec.placement.groups.size"),
        (warm_set({"nodeSelector": {}}, models=[]), "spec.models"),
        (warm_set({"nodeSelector": {}}, models=["a", "a"]), "Duplicate value"),
        (warm_set({"nodeSelector": {}}, models=["Not A Name"]), "spec.models"),
        (warm_set({"nodeSelector": {}}, models=["a/b/c"]), "spec.models"),
        (warm_set({"nodeSelector": {}}, priority=1001), "spec.priority"),
        (warm_set({"nodeSelector": {}}, retention={"ttlAfterLastUse": "soon"}), "spec.retention.ttlAfterLastUse"),
    ],
)
async def test_a_warm_set_outside_its_bounds_is_refused(cluster: Client, body: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError) as refusal:
        await cluster.create(WARM_SETS, body, namespace="default")
    assert said in refusal.value.message


async def test_a_warm_set_may_name_a_model_of_another_namespace(cluster: Client) -> None:
    """Whether that Model allows it, the controller decides."""
    await cluster.create(
        WARM_SETS, warm_set({"nodeSelector": {}}, models=["llama", "team-b/llama"]), namespace="default"
    )


async def test_a_node_cache_lists_each_revision_of_a_model_once(cluster: Client) -> None:
    entry = {"model": HEX[:32], "revision": "sha256:1"}
    await cluster.create(NODE_CACHES, node_cache(entry, entry | {"revision": "sha256:2"}))
    with pytest.raises(ApiError, match="Duplicate value"):
        await cluster.create(NODE_CACHES, node_cache(entry, entry))


async def test_a_node_cache_names_models_only_by_their_hash(cluster: Client) -> None:
    with pytest.raises(ApiError, match=r"spec\.models\[0\]\.model"):
        await cluster.create(NODE_CACHES, node_cache({"model": "team-a/llama", "revision": ""}))


async def test_a_model_may_be_held_or_given_up_and_nothing_else(cluster: Client) -> None:
    entry = {"model": HEX[:32], "revision": "", "desired": "Perhaps"}
    with pytest.raises(ApiError, match='supported values: "Absent", "Present"'):
        await cluster.create(NODE_CACHES, node_cache(entry))


async def test_what_the_classes_write_is_stored_and_read_back_unchanged(cluster: Client) -> None:
    """No defaults are added and no field is dropped on the way."""
    written = [
        (
            MODELS,
            Model(
                metadata=ObjectMeta(name="llama", namespace="default"),
                spec=ModelSpec(source="oci://registry.example.com/llama:v1"),
            ),
        ),
        (
            WARM_SETS,
            WarmSet(
                metadata=ObjectMeta(name="llama", namespace="default"),
                spec=WarmSetSpec(
                    models=["llama"], placement=Placement(groups=GroupPlacement(count=2, size=4)), priority=-5
                ),
            ),
        ),
        (
            NODE_CACHES,
            NodeCache(
                metadata=ObjectMeta(name="node-1"),
                spec=NodeCacheSpec(models=[NodeModel(model=HEX[:32], revision="sha256:1", groups=["default/llama-0"])]),
            ),
        ),
    ]
    for resource, value in written:
        body = msgspec.to_builtins(value) | {"apiVersion": API_VERSION, "kind": type(value).__name__}
        await cluster.create(resource, body, namespace=value.metadata.namespace or None)
        stored = await cluster.get(resource, value.metadata.name, namespace=value.metadata.namespace or None)
        assert stored["spec"] == body["spec"]
        assert msgspec.convert(stored, type=type(value)).spec == value.spec


async def test_a_write_to_the_object_leaves_the_status_alone_and_the_other_way(cluster: Client) -> None:
    made = await cluster.create(MODELS, model("s3://bucket/a") | {"status": {"bytes": 7}}, namespace="default")
    assert "status" not in made
    name = made["metadata"]["name"]
    change = {"spec": {"source": "s3://bucket/b"}, "status": {"bytes": 7}}
    after = await cluster.patch(MODELS, name, change, namespace="default", subresource="status")
    assert (after["spec"]["source"], after["status"]["bytes"]) == ("s3://bucket/a", 7)
