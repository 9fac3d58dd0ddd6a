"""Engine images pulled beside the weights: by a short-lived pod for each node and image, in the WarmSet's namespace.

kubelet pulls the image with that namespace's credentials, so that its records of who may use it stay true. The pod's
command does not matter: once its container was made, or could not be started, the image is there. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from api import keys
from api.resources import WarmSet
from controller.objects.nodes import NodeView

DEADLINE_S = 3600  # for one image; a larger one than an hour's pull is stuck
NOBODY = 65534
_HUB = ("", "docker.io/", "docker.io/library/")  # how a container runtime may write a name without a host


@dataclass(frozen=True, slots=True)
class Progress:
    """Of ``wanted`` pairs of node and image ``there`` are done; ``trouble`` is one that failed, if any has."""

    wanted: int
    there: int
    trouble: str = ""


def label(warm_set: WarmSet) -> dict[str, str]:
    return {keys.IMAGES_OF: warm_set.metadata.uid}


def name(warm_set: WarmSet, node: NodeView, image: str) -> str:
    digest = hashlib.sha256("\0".join((warm_set.metadata.uid, node.uid, image)).encode()).hexdigest()[:16]
    return f"warmset-image-{digest}"


def pod(warm_set: WarmSet, node: NodeView, image: str) -> dict[str, Any]:
    """Fits namespaces that enforce the restricted Pod Security Standard. Goes with the WarmSet."""
    owner = {"apiVersion": warm_set.api_version, "kind": warm_set.kind, "name": warm_set.metadata.name}
    here = {"key": "metadata.name", "operator": "In", "values": [node.name]}
    amounts = {"cpu": "10m", "memory": "32Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name(warm_set, node, image),
            "labels": label(warm_set),
            "ownerReferences": [owner | {"uid": warm_set.metadata.uid}],
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": DEADLINE_S,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [here]}]}
                }
            },
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": NOBODY,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "image",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["true"],
                    "resources": {"requests": amounts, "limits": amounts},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def outcome(found: Mapping[str, Any]) -> tuple[Literal["there", "failed", "waiting"], str]:
    """What has become of the pod's image, and words for a person."""
    status = found.get("status") or {}
    containers = status.get("containerStatuses") or ()
    if any(container.get("imageID") for container in containers):
        return "there", ""
    waiting: Mapping[str, str] = next(
        (c["state"]["waiting"] for c in containers if (c.get("state") or {}).get("waiting")), {}
    )
    words = ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    if status.get("phase") in ("Succeeded", "Failed"):
        return "failed", words or str(status.get("reason", "")) or "the pod ended before its image was there"
    return "waiting", words


def is_there(image: str, names: Iterable[str]) -> bool:
    """``names`` as in a Node's status.images, which lists the largest 50 by default."""
    tagged = image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
    known = frozenset(names)
    return any(prefix + tagged in known for prefix in _HUB)
