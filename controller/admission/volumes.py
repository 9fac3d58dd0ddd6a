"""Volumes that an operator's pod has for weights, taken out of it where ours are mounted in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Spec = Mapping[str, Any]


def without_volume(spec: Spec, name: str) -> Spec:
    """The pod's spec without the volume, and without its mounts."""
    fields = [field for field in ("initContainers", "containers") if field in spec]
    return {
        **spec,
        **{field: [_unmounted(container, name) for container in spec[field]] for field in fields},
        "volumes": [volume for volume in spec.get("volumes") or () if volume["name"] != name],
    }


def mount_paths(spec: Spec, name: str) -> list[str]:
    """Where containers mount the volume."""
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    mounts = (mount for container in containers for mount in container.get("volumeMounts") or ())
    return [mount["mountPath"].rstrip("/") for mount in mounts if mount["name"] == name]


def _unmounted(container: Mapping[str, Any], name: str) -> dict[str, Any]:
    if "volumeMounts" not in container:
        return dict(container)
    return {**container, "volumeMounts": [mount for mount in container["volumeMounts"] if mount["name"] != name]}
