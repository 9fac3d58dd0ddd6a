"""The examples that users copy are taken by the code they are for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import daemonset.config
from api import keys
from api.fields import ObjectMeta
from api.reference import parse_reference
from api.resources import Model, ModelSpec
from controller.admission.mutate import mutate

EXAMPLES = Path(__file__).resolve().parents[3] / "deploy" / "examples"
NAMESPACE = "team-a"


def objects(name: str) -> list[dict[str, Any]]:
    return [obj for obj in yaml.safe_load_all((EXAMPLES / name).read_text()) if obj]


def pod_templates(value: Any) -> Iterator[dict[str, Any]]:
    """Every pod template inside ``value``, at whatever depth its workload keeps it."""
    if isinstance(value, dict):
        if "containers" in value.get("spec", {}):
            yield value
        for inner in value.values():
            yield from pod_templates(inner)


def model(name: str) -> Model:
    return Model(
        metadata=ObjectMeta(name=name, namespace=NAMESPACE),
        spec=ModelSpec(source=f"oci://registry.example.com/models/{name}:v1"),
    )


@pytest.mark.parametrize(("file", "templates"), [("lws.yaml", 2), ("deployment.yaml", 1), ("job.yaml", 1)])
def test_every_pod_of_a_workload_asks_and_is_admitted(file: str, templates: int) -> None:
    found = [template for obj in objects(file) for template in pod_templates(obj)]
    assert len(found) == templates
    models = {f"{NAMESPACE}/{name}": model(name) for name in ("llama-3-70b", "llama-3-1b-draft")}
    for template in found:
        pod = {"metadata": {"name": "a", "namespace": NAMESPACE} | template["metadata"], "spec": template["spec"]}
        paths = [operation["path"] for operation in mutate(pod, namespace=NAMESPACE, models=models)]
        assert "/spec/schedulingGates" in paths


def test_leader_and_workers_ask_for_the_same_model() -> None:
    asked = {t["metadata"]["annotations"][keys.MODEL] for obj in objects("lws.yaml") for t in pod_templates(obj)}
    assert len(asked) == 1


def test_the_stand_alone_agent_reads_its_example() -> None:
    config = daemonset.config.load(EXAMPLES / "agent-standalone.yaml", options={})
    assert config.cluster is None
    assert [m.name for m in config.models] == ["llama-3-70b"]


def test_the_models_source_is_a_reference() -> None:
    for obj in objects("model.yaml"):
        parse_reference(obj["spec"]["source"])
