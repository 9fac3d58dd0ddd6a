"""Kaito's local weights: a folder of the node that its engine loads a preset from, which somebody else is to fill.

With ``kaito.sh/use-local-weights: "true"`` a Workspace's pods have a hostPath volume below /opt/kaito/models, and the
engine is told its path. Our mount takes the volume's place, so the folder need not exist on the node, pods need not be
allowed hostPath, and what they read is pinned. (Kaito: pkg/workspace/inference/preset_inferences.go.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import Any

from controller.admission.volumes import Spec, mount_paths, without_volume

_FOLDER = PurePosixPath("/opt/kaito/models")


def local_weights_path(pod: dict[str, Any]) -> str:
    """Where the pod's engine looks for them; '' where it does not."""
    spec = pod["spec"]
    return next((path for name in _volumes(spec) for path in mount_paths(spec, name)), "")


def without_local_weights(spec: Spec, *, paths: Collection[str]) -> Spec:
    """``spec`` itself where none are mounted at any of ``paths``."""
    for name in list(_volumes(spec)):
        if any(path in paths for path in mount_paths(spec, name)):
            spec = without_volume(spec, name)
    return spec


def _volumes(spec: Spec) -> Iterator[str]:
    for volume in spec.get("volumes") or ():
        path = (volume.get("hostPath") or {}).get("path", "")
        if _FOLDER in PurePosixPath(path).parents:
            yield volume["name"]
