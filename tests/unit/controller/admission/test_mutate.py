"""What admission does to a pod that asks for weights, and how it refuses one it cannot serve."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import keys
from api.errors import Forbidden, InvalidReference, InvalidRequest, NotFound, WarmsetError
from api.fields import ObjectMeta
from api.resources import Model, ModelSpec, ModelStatus
from controller.admission.mutate import mutate
from controller.models.requests import requests
from controller.objects.pods import MountedModel
from controller.objects.pods import models as models_of
from tests.support.jsonpatch import apply

REVISION = "sha256:" + "a" * 64


def model(name: str = "llama", namespace: str = "team", *, allowed: list[str] | None = None) -> dict[str, Model]:
    found = Model(
        metadata=ObjectMeta(name=name, namespace=namespace, generation=1),
        spec=ModelSpec(source="oci://r.example/m/llama:v1", allowed_namespaces=allowed or []),
        status=ModelStatus(observed_generation=1, revision=REVISION),
    )
    return {f"{namespace}/{name}": found}


def pod(text: str | None = "llama", *, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    notes = dict(annotations or {}) | ({keys.MODEL: text} if text is not None else {})
    containers = [{"name": "main", "image": "engine"}]
    return {"metadata": {"generateName": "p-", "annotations": notes}, "spec": {"containers": containers} | spec}


def mutated(asking: dict[str, Any], models: dict[str, Model]) -> dict[str, Any]:
    result: dict[str, Any] = apply(asking, mutate(asking, namespace="team", models=models))
    return result


def test_a_pod_that_does_not_ask_is_not_touched() -> None:
    assert mutate(pod(None), namespace="team", models={}) == []


def test_a_pod_gets_volume_mount_path_label_and_gate() -> None:
    result = mutated(pod(initContainers=[{"name": "init"}]), model())
    (volume,) = result["spec"]["volumes"]
    assert volume["csi"] == {
        "driver": "csi.warmset.dev",
        "readOnly": True,
        "volumeAttributes": {"warmset.dev/model": "team/llama", "warmset.dev/revision": REVISION},
    }
    for container in (*result["spec"]["containers"], *result["spec"]["initContainers"]):
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/models/llama", "readOnly": True}]
        assert container["env"] == [{"name": "WARMSET_MODEL_PATH", "value": "/models/llama"}]
    assert result["metadata"]["labels"] == {"warmset.dev/weights": "true"}
    assert result["spec"]["schedulingGates"] == [{"name": "warmset.dev/weights"}]


def test_a_pod_that_names_its_node_gets_the_volume_but_no_gate() -> None:
    result = mutated(pod(nodeName="n1"), model())
    assert "schedulingGates" not in result["spec"]
    assert len(result["spec"]["volumes"]) == 1


def test_the_revision_is_left_open_while_the_newest_generation_is_not_resolved() -> None:
    models = model()
    models["team/llama"].metadata.generation = 2
    (volume,) = mutated(pod(), models)["spec"]["volumes"]
    assert volume["csi"]["volumeAttributes"] == {"warmset.dev/model": "team/llama"}


def test_several_models_get_a_mount_each_and_the_first_ones_path() -> None:
    result = mutated(pod("llama, draft"), model() | model("draft"))
    (container,) = result["spec"]["containers"]
    assert [m["mountPath"] for m in container["volumeMounts"]] == ["/models/llama", "/models/draft"]
    assert container["env"][0]["value"] == "/models/llama"


def test_a_bare_reference_stands_for_a_model_that_the_controller_will_make() -> None:
    result = mutated(pod("oci://r.example/m/llama:v1", imagePullSecrets=[{"name": "pull"}]), {})
    (volume,) = result["spec"]["volumes"]
    name = volume["csi"]["volumeAttributes"]["warmset.dev/model"]
    assert name.startswith("team/ref-")
    assert result["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] == "/models/llama"


def test_pods_with_different_credentials_do_not_share_a_made_model() -> None:
    def made(secret: str) -> str:
        asking = pod("oci://r.example/m/llama:v1", annotations={keys.SECRET: secret})
        (volume,) = mutated(asking, {})["spec"]["volumes"]
        return str(volume["csi"]["volumeAttributes"]["warmset.dev/model"])

    assert made("a") != made("b")


def test_a_model_of_another_namespace_is_used_where_it_allows_that() -> None:
    result = mutated(pod("ml/llama"), model(namespace="ml", allowed=["team"]))
    assert result["spec"]["volumes"][0]["csi"]["volumeAttributes"]["warmset.dev/model"] == "ml/llama"


def test_a_forbidden_model_is_refused_with_the_words_for_an_absent_one() -> None:
    with pytest.raises(NotFound) as forbidden:
        mutate(pod("ml/llama"), namespace="team", models=model(namespace="ml"))
    with pytest.raises(NotFound) as absent:
        mutate(pod("ml/llama"), namespace="team", models={})
    assert forbidden.value.message == absent.value.message


@pytest.mark.parametrize(
    ("asking", "error", "says"),
    [
        (pod(""), InvalidRequest, "names no model"),
        (pod("llama,"), InvalidRequest, "names no model"),
        (pod("Llama 3"), InvalidRequest, "is no Model's name"),
        (pod("a/b/c"), InvalidRequest, "is no Model's name"),
        (pod("file:///etc"), InvalidReference, "not a source in a cluster"),
        (pod("oci://Bad_Host!/x"), InvalidReference, ""),
        (pod(annotations={keys.PATH: "models"}), InvalidRequest, "not an absolute path"),
        (pod(annotations={keys.PATH: "/a/../b"}), InvalidRequest, "not an absolute path"),
        (pod(annotations={keys.PATH: "/a,/b"}), InvalidRequest, "2 paths for 1 models"),
        (pod(annotations={keys.MAX_HOLD: "soon"}), InvalidRequest, "not a duration"),
        (pod("llama, llama"), InvalidRequest, "two models would be mounted"),
        (
            pod(containers=[{"name": "main", "volumeMounts": [{"name": "x", "mountPath": "/models/llama/"}]}]),
            InvalidRequest,
            "already mounts volume 'x'",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_in_words(
    asking: dict[str, Any], error: type[WarmsetError], says: str
) -> None:
    with pytest.raises(error) as refused:
        mutate(asking, namespace="team", models=model())
    assert says in refused.value.message


CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["a", "b"])},
        optional={
            "env": st.just([{"name": "X", "value": "1"}]),
            "volumeMounts": st.just([{"name": "data", "mountPath": "/data"}]),
        },
    ),
    min_size=1,
    max_size=5,
)


@given(CONTAINERS, CONTAINERS, st.sampled_from(["llama", "llama, draft", "oci://r.example/x/y:1"]), st.booleans())
def test_mutating_again_changes_nothing(
    containers: list[dict[str, Any]], later: list[dict[str, Any]], text: str, gated: bool
) -> None:
    models = model() | model("draft")
    asking = pod(text, containers=copy.deepcopy(containers))
    if gated:
        asking["spec"]["schedulingGates"] = [{"name": "other"}]
    once = mutated(asking, models)
    assert mutate(once, namespace="team", models=models) == []
    # A container that another webhook adds after us is served when we are called again.
    once["spec"]["containers"] += copy.deepcopy(later)
    again = mutated(once, models)
    assert all(c["volumeMounts"] for c in again["spec"]["containers"])
    assert again["spec"]["volumes"] == once["spec"]["volumes"]


def test_preloading_is_asked_of_the_node_by_the_volume() -> None:
    (volume,) = mutated(pod(annotations={keys.PRELOAD: "true"}), model())["spec"]["volumes"]
    assert volume["csi"]["volumeAttributes"][keys.ATTRIBUTE_PRELOAD] == "true"
    (volume,) = mutated(pod(annotations={keys.PRELOAD: "false"}), model())["spec"]["volumes"]
    assert keys.ATTRIBUTE_PRELOAD not in volume["csi"]["volumeAttributes"]


def test_anything_but_true_and_false_is_refused_for_preloading() -> None:
    with pytest.raises(InvalidRequest, match=keys.PRELOAD):
        mutated(pod(annotations={keys.PRELOAD: "yes"}), model())


# -- clusters without CSI ---------------------------------------------------------------------------------------


def by_host_path(asking: dict[str, Any], models: dict[str, Model]) -> dict[str, Any]:
    patch = mutate(asking, namespace="team", models=models, host_path_root="/var/lib/warmset")
    result: dict[str, Any] = apply(asking, patch)
    return result


def test_without_csi_a_pod_gets_the_path_at_which_its_node_shows_the_model() -> None:
    result = by_host_path(pod(), model(allowed=["*"]))
    (volume,) = result["spec"]["volumes"]
    path = f"/var/lib/warmset/open/team/llama/{REVISION}"
    assert volume["hostPath"] == {"path": path, "type": "Directory"}
    assert result["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] is True
    assert models_of(result) == (MountedModel("team/llama", REVISION),)


@pytest.mark.parametrize("allowed", [[], ["team"], ["other"]])
def test_without_csi_a_model_that_is_not_open_to_all_is_refused_even_at_home(allowed: list[str]) -> None:
    with pytest.raises(Forbidden, match="not open to all namespaces"):
        by_host_path(pod(), model(allowed=allowed))


def test_without_csi_a_reference_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="references are not taken"):
        by_host_path(pod("oci://r.example/m/llama:v1"), {})


def test_without_csi_a_pod_waits_to_be_created_until_its_model_is_resolved() -> None:
    unresolved = model(allowed=["*"])
    unresolved["team/llama"].status.observed_generation = 0
    with pytest.raises(NotFound, match="no revision yet"):
        by_host_path(pod(), unresolved)


def environment(result: dict[str, Any]) -> dict[str, str]:
    (container,) = result["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_a_reference_to_the_hub_may_be_had_as_the_hub_s_own_cache() -> None:
    asking = pod("hf://org/name", annotations={keys.LAYOUT: "hf"})
    assert environment(mutated(asking, {})) == {
        "WARMSET_MODEL_PATH": "/models/name",
        "HF_HUB_CACHE": "/models/name",
        "HF_HUB_OFFLINE": "1",
    }
    plain, arranged = requests(pod("hf://org/name"), namespace="team"), requests(asking, namespace="team")
    assert plain[0].name != arranged[0].name, "two Models: their trees differ"


def test_a_model_s_own_layout_counts_and_containers_that_know_better_are_left_alone() -> None:
    models = model()
    models["team/llama"].spec.layout = "hf"
    known = [{"name": "main", "env": [{"name": "HF_HUB_CACHE", "value": "/mine"}]}]
    found = environment(mutated(pod(containers=known), models))
    assert (found["HF_HUB_CACHE"], found["HF_HUB_OFFLINE"]) == ("/mine", "1")


def test_the_layout_speaks_of_references_to_the_hub_alone() -> None:
    both = "oci://r.example/m/llama:v1, hf://org/name"
    found = environment(mutated(pod(both, annotations={keys.LAYOUT: "hf"}), {}))
    assert found["HF_HUB_CACHE"] == "/models/name"
    with pytest.raises(InvalidRequest, match="no layout"):
        mutated(pod("hf://org/name", annotations={keys.LAYOUT: "hub"}), {})
