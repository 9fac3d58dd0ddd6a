"""Every example and every object of a page, as `kubectl apply --dry-run=server` sees it: each field exists there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.client import ApiError, Client
from kube.resources import POD, Resource
from tests.support import workload_crds
from tests.support.chart import NAMESPACE, pick, render, resource_of
from tests.support.installation import ensure_namespace
from tests.support.pages import yaml_blocks
from tests.support.workload_crds import SCHEMAS, define, dry_run, undefine

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.yaml") if path.name != "agent-standalone.yaml")
# Kubernetes' own, alpha and so off here: test_podgroup_scheduling.py turns it on.
NOT_SERVED = ("scheduling.k8s.io/v1alpha2", "PodGroup")
OTHERS = {(schema["apiVersion"], schema["kind"]) for schema in SCHEMAS}


def objects(name: str) -> list[dict[str, Any]]:
    found = [obj for obj in yaml.safe_load_all((EXAMPLES / name).read_text()) if obj]
    return [obj for obj in found if (obj["apiVersion"], obj["kind"]) != NOT_SERVED]


def pod_specs(value: Any) -> Iterator[dict[str, Any]]:
    """Every pod spec in the object that is whole: with images, as the user writes it."""
    if isinstance(value, dict):
        if all("image" in container for container in value.get("containers", [{}])):
            yield dict(value)
        for inner in value.values():
            yield from pod_specs(inner)
    for item in value if isinstance(value, list) else []:
        yield from pod_specs(item)


@pytest.fixture
async def workloads(cluster: Client) -> AsyncIterator[Client]:
    """The API server knows all workload APIs by their fields."""
    await define(cluster)
    await ensure_namespace(cluster, "team-a")
    yield cluster
    await undefine(cluster)


def where(obj: dict[str, Any]) -> Resource:
    kind = obj["apiVersion"], obj["kind"]
    return workload_crds.resource_of(*kind) if kind in OTHERS else resource_of(obj)


async def test_every_example_and_every_pod_in_it_is_taken(workloads: Client) -> None:
    refused: dict[str, str] = {}
    for name in NAMES:
        for obj in objects(name):
            try:
                await dry_run(workloads, where(obj), obj, namespace=obj["metadata"].get("namespace"))
                for spec in pod_specs(obj.get("spec", obj)):
                    # Knative names a container that has no name.
                    spec |= {"containers": [{"name": "user-container"} | c for c in spec["containers"]]}
                    pod = {"metadata": {"name": "p"}, "spec": spec}
                    if obj["kind"] not in ("ServingRuntime", "Pod"):  # a ServingRuntime has fields of its own beside
                        await dry_run(workloads, POD, pod, namespace="team-a")
            except ApiError as error:
                if error.status != 409:  # its namespace is there already
                    refused[name] = error.message
    assert refused == {}


async def test_every_object_that_a_page_shows_is_taken(workloads: Client) -> None:
    shown = yaml_blocks("object")
    for obj in shown:
        await dry_run(workloads, where(obj), obj, namespace=obj["metadata"].get("namespace"))
    assert len(shown) >= 4


async def test_a_misplaced_field_would_be_refused(workloads: Client) -> None:
    """What the test above rests on."""
    (lws, *_) = [obj for obj in objects("lws.yaml") if obj["kind"] == "LeaderWorkerSet"]
    lws["spec"]["leaderWorkerTemplate"]["annotations"] = {}
    with pytest.raises(ApiError, match="unknown field"):
        await dry_run(workloads, where(lws), lws, namespace="team-a")


async def test_the_charts_service_monitor_is_taken(workloads: Client) -> None:
    await ensure_namespace(workloads, NAMESPACE)
    monitor = pick(render("monitoring.serviceMonitor.enabled=true"), "ServiceMonitor", "warmset")
    await dry_run(workloads, where(monitor), monitor, namespace=NAMESPACE)
