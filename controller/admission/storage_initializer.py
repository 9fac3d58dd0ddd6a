"""KServe's own download taken out of a pod that mounts its weights from us at the very place it would fill.

KServe's webhook adds an init container that downloads ``storageUri`` into an emptyDir at ``/mnt/models``, before ours
runs and perhaps again after it (reinvocationPolicy IfNeeded), so that this is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Collection

from controller.admission.volumes import Spec, without_volume

# pkg/constants: StorageInitializerContainerName, StorageInitializerVolumeName
_INITIALIZER = "storage-initializer"
_VOLUME = "kserve-provision-location"


def without_download(spec: Spec, *, paths: Collection[str]) -> Spec:
    """``spec`` itself where nothing is downloaded to any of ``paths``."""
    initializer = next((c for c in spec.get("initContainers") or () if c["name"] == _INITIALIZER), None)
    mounts = (initializer or {}).get("volumeMounts") or ()
    if not any(m["name"] == _VOLUME and m["mountPath"].rstrip("/") in paths for m in mounts):
        return spec
    others = [container for container in spec["initContainers"] if container is not initializer]
    return without_volume({**spec, "initContainers": others}, _VOLUME)
