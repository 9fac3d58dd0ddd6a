"""KServe's own download taken out of a pod that mounts its weights from us at the very place it would fill.

KServe's webhook adds an init container that downloads ``storageUri`` into an emptyDir at ``/mnt/models``, before ours
runs and perhaps again after it (reinvocationPolicy IfNeeded), so that this is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# pkg/constants: StorageInitializerContainerName, StorageInitializerVolumeName
_INITIALIZER = "storage-initializer"
_VOLUME = "kserve-provision-location"


def without_download(spec: Mapping[str, Any], *, paths: Collection[str]) -> Mapping[str, Any]:
    """``spec`` itself where nothing is downloaded to any of ``paths``."""
    initializer = next((c for c in spec.get("initContainers") or () if c["name"] == _INITIALIZER), None)
    mounts = (initializer or {}).get("volumeMounts") or ()
    if not any(m["name"] == _VOLUME and m["mountPath"].rstrip("/") in paths for m in mounts):
        return spec
    return {
        **spec,
        "initContainers": [_unmounted(c) for c in spec["initContainers"] if c is not initializer],
        "containers": [_unmounted(container) for container in spec["containers"]],
        "volumes": [volume for volume in spec.get("volumes") or () if volume["name"] != _VOLUME],
    }


def _unmounted(container: Mapping[str, Any]) -> dict[str, Any]:
    if "volumeMounts" not in container:
        return dict(container)
    kept = [mount for mount in container["volumeMounts"] if mount["name"] != _VOLUME]
    return {**container, "volumeMounts": kept}
