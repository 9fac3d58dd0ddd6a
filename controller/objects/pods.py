"""Reading pods: the facts that the controller takes from a pod's dict, each by one small function.

What a pod mounts is read from its volumes, never from its annotation: the volumes are what the node acts on,
they are immutable, and they carry the revision that was fixed at admission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from api import keys
from api.open_path import parse_open_path

Pod = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class MountedModel:
    """A model that a pod mounts: ``namespace/name``, and the revision where admission knew it."""

    model: str
    revision: str = ""


class Mounting(NamedTuple):
    """A pod and the models that it mounts."""

    pod: Pod
    models: tuple[MountedModel, ...]


def key(pod: Pod) -> tuple[str, str]:
    return pod["metadata"].get("namespace", ""), pod["metadata"]["name"]


def uid(pod: Pod) -> str:
    return str(pod["metadata"].get("uid", ""))


def models(pod: Pod) -> tuple[MountedModel, ...]:
    """The models of the pod's volumes of our driver, or of its host paths, in order, without repeats."""
    found = []
    for volume in pod["spec"].get("volumes") or ():
        if shown := parse_open_path((volume.get("hostPath") or {}).get("path", "")):
            found.append(MountedModel(*shown))
        if mounted := mounted_model(volume.get("csi") or {}):
            found.append(mounted)
    return tuple(dict.fromkeys(found))


def mounted_model(csi: Mapping[str, Any]) -> MountedModel | None:
    """What a volume shows, a pod's own or a PersistentVolume; None where it is not of our driver."""
    attributes = csi.get("volumeAttributes") or {}
    model = attributes.get(keys.ATTRIBUTE_MODEL, "")
    if csi.get("driver") != keys.CSI_DRIVER or model.count("/") != 1:
        return None
    return MountedModel(model, attributes.get(keys.ATTRIBUTE_REVISION, ""))


def claims(pod: Pod) -> tuple[str, ...]:
    """The PersistentVolumeClaims that the pod mounts, by name."""
    volumes = pod["spec"].get("volumes") or ()
    return tuple(
        volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume
    )


def gates(pod: Pod) -> tuple[str, ...]:
    return tuple(gate["name"] for gate in pod["spec"].get("schedulingGates") or ())


def is_gated(pod: Pod) -> bool:
    return keys.GATE in gates(pod)


def node(pod: Pod) -> str:
    """The node the pod is bound to, or ''."""
    return str(pod["spec"].get("nodeName") or "")


def nominated(pod: Pod) -> str:
    """The node that was proposed for the pod, or ''."""
    return str((pod.get("status") or {}).get("nominatedNodeName") or "")


def spread_key(pods: Iterable[Pod]) -> str:
    """The node label over which a group's pods ask that the groups of their workload be spread, or ''."""
    said = ((pod["metadata"].get("annotations") or {}).get(keys.SPREAD, "") for pod in pods)
    return next(filter(None, said), "")


def is_terminal(pod: Pod) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_going(pod: Pod) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_ours(pod: Pod) -> bool:
    """Whether the pod carries our gate, our label or one of our volumes."""
    labels = pod["metadata"].get("labels") or {}
    return keys.MANAGED_LABEL in labels or is_gated(pod) or bool(models(pod))
