"""The chart as helm renders it, as plain objects."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.resources import Resource
from tests.support.processes import find_binary

CHART = Path(__file__).resolve().parents[2] / "deploy" / "chart"
NAMESPACE = "warmset-system"
OLDEST_KUBERNETES = "1.33.0"  # Chart.yaml, kubeVersion
HOW_TO_GET = 'needs helm: export PATH="$(.ci/helm/build):$PATH"'

Manifest = dict[str, Any]


def helm(*arguments: str) -> str:
    """What helm prints; skips the test where there is no helm, fails it with helm's own words."""
    binary = find_binary("helm")
    if binary is None:
        pytest.skip(HOW_TO_GET)
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"helm {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def render(*settings: str) -> list[Manifest]:
    """The chart's objects, CRDs left out. A setting is an argument of ``--set-json``, as ``controller.replicas=1``."""
    options = [part for setting in settings for part in ("--set-json", setting)]
    text = helm(
        "template", "warmset", str(CHART), f"--namespace={NAMESPACE}", f"--kube-version={OLDEST_KUBERNETES}", *options
    )
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def pick(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def pod_specs(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Each workload's name and pod spec."""
    for manifest in manifests:
        if "template" in manifest.get("spec", {}):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def containers(spec: Manifest) -> dict[str, Manifest]:
    """A pod spec's containers by name, those that run before the others too."""
    return {c["name"]: c for c in [*spec.get("initContainers", []), *spec["containers"]]}


def node_containers(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The containers of the DaemonSet's pods."""
    return containers(pick(manifests, "DaemonSet", "warmset-node")["spec"]["template"]["spec"])


def resource_of(manifest: Manifest) -> Resource:
    """Where an object of the chart lives on the API server."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    kind = manifest["kind"]
    lower = kind.lower()
    plural = f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"
    return Resource(group, version, plural, kind, namespaced="namespace" in manifest["metadata"])
