"""Kaito's local weights are mounted by us at the place where its engine looks for them."""

from __future__ import annotations

import copy
from typing import Any

from api import keys
from api.fields import ObjectMeta
from api.resources import Model, ModelSpec, ModelStatus
from controller.admission.inherited import inherited
from controller.admission.mutate import mutate
from controller.groups import Owner
from tests.support.jsonpatch import apply

PATH = "/opt/kaito/models/deepseek-ai-deepseek-v4-flash"
MODELS = {
    "team/flash": Model(
        metadata=ObjectMeta(name="flash", namespace="team", generation=1),
        spec=ModelSpec(source="hf://deepseek-ai/DeepSeek-V4-Flash"),
        status=ModelStatus(observed_generation=1, revision="a" * 40),
    )
}


def pod(annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """As Kaito makes it for a preset with kaito.sh/use-local-weights (pkg/workspace/inference)."""
    mount = {"name": "local-weights", "mountPath": PATH, "readOnly": True}
    return {
        "metadata": {"annotations": annotations or {}},
        "spec": {
            "containers": [{"name": "flash", "image": "engine:1", "args": ["--model", PATH], "volumeMounts": [mount]}],
            "volumes": [{"name": "local-weights", "hostPath": {"path": PATH}}, {"name": "dshm", "emptyDir": {}}],
        },
    }


def taken_from(annotations: dict[str, str]) -> dict[str, str]:
    workspace = Owner(api_version="kaito.sh/v1beta1", kind="Workspace", name="w", uid="w", annotations=annotations)
    return inherited(pod(), owners=(workspace,))


def mutated(asking: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = apply(copy.deepcopy(asking), mutate(asking, namespace="team", models=MODELS))
    return result


def test_a_workspaces_model_is_for_the_place_where_its_engine_looks() -> None:
    assert taken_from({keys.MODEL: "flash"}) == {keys.MODEL: "flash", keys.PATH: PATH}


def test_a_path_that_the_user_says_is_the_one_that_counts() -> None:
    assert taken_from({keys.MODEL: "flash", keys.PATH: "/weights"})[keys.PATH] == "/weights"


def test_of_several_models_the_user_says_which_goes_where() -> None:
    assert keys.PATH not in taken_from({keys.MODEL: "flash, draft"})


def test_the_node_s_folder_is_replaced_by_our_mount() -> None:
    spec = mutated(pod({keys.MODEL: "flash", keys.PATH: PATH}))["spec"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == (PATH, True)
    assert [(volume["name"] == mount["name"], next(iter(volume.keys() - {"name"}))) for volume in spec["volumes"]] == [
        (False, "emptyDir"),
        (True, "csi"),
    ]


def test_it_is_the_same_when_it_is_done_again() -> None:
    once = mutated(pod({keys.MODEL: "flash", keys.PATH: PATH}))
    assert mutated(once) == once


def test_a_model_for_another_place_leaves_the_folder_as_it_is() -> None:
    spec = mutated(pod({keys.MODEL: "flash", keys.PATH: "/weights"}))["spec"]
    assert "local-weights" in [volume["name"] for volume in spec["volumes"]]
    assert [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]] == [PATH, "/weights"]
