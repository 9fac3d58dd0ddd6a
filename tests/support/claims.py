"""What pods claim: static volumes of the driver, bound as kube-controller-manager does it, which no test runs; and
devices that they share."""

from __future__ import annotations

from api import keys
from kube.client import Client, Object
from kube.resources import PERSISTENT_VOLUME, Resource
from tests.support.control import pod

CLAIM = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
DEVICE_CLAIM = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")


async def bind_volume(client: Client, name: str, *, namespace: str, model: str) -> Object:
    """A volume of the shape of deploy/examples/persistent-volume.yaml with its claim ``name``; returns the volume."""
    size, modes, volume = {"storage": "1Gi"}, ["ReadOnlyMany"], f"{namespace}-{name}"
    claim = {
        "metadata": {"name": name},
        "spec": {
            "accessModes": modes,
            "storageClassName": "",
            "volumeName": volume,
            "resources": {"requests": size},
        },
    }
    made = await client.create(CLAIM, claim, namespace=namespace)
    shown = {keys.ATTRIBUTE_MODEL: model}
    spec = {
        "capacity": size,
        "accessModes": modes,
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": name, "uid": made["metadata"]["uid"]},
        "csi": {"driver": keys.CSI_DRIVER, "volumeHandle": volume, "readOnly": True, "volumeAttributes": shown},
    }
    await client.create(PERSISTENT_VOLUME, {"metadata": {"name": volume}, "spec": spec})
    return await client.patch(PERSISTENT_VOLUME, volume, {"status": {"phase": "Bound"}}, subresource="status")


async def claim_devices(client: Client, name: str, *, namespace: str) -> Object:
    """A claim that any number of pods may share, on any node: it asks for no device at all."""
    return await client.create(
        DEVICE_CLAIM, {"metadata": {"name": name}, "spec": {"devices": {"requests": []}}}, namespace=namespace
    )


def served_by_kserve(name: str, *, claim: str, on: str) -> Object:
    """As KServe makes a pod for ``storageUri: pvc://<claim>``; nothing of ours is on it."""
    mount = {"name": "kserve-pvc-source", "mountPath": "/mnt/models", "readOnly": True}
    containers = [{"name": "kserve-container", "image": "engine:1", "volumeMounts": [mount]}]
    volume = {"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": claim}}
    return pod(name, containers=containers, volumes=[volume], nodeName=on)
