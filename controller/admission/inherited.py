"""Annotations that a workload API drops on the way to its pods, found up the chain of owners.

Kaito copies none of a Workspace's annotations, LLMInferenceService only those with certain prefixes. In namespaces
that opt in, a pod without the annotation takes ours from the nearest owner that has it. Where the pod's engine looks
for local weights, and no path is said, they are mounted there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api import keys
from controller.admission.local_weights import local_weights_path
from controller.groups.jobset import INITIALIZERS
from controller.groups.owner import Owner

# What a user writes on a template for all of its pods; the index of one pod is no such thing.
_INHERITED = (keys.MODEL, keys.SECRET, keys.PATH, keys.MAX_HOLD, keys.SPREAD)


def inherited(pod: dict[str, Any], *, owners: Sequence[Owner]) -> dict[str, str]:
    """The annotations to add to ``pod``; none where it asks by itself, or is there to download a model."""
    meta = pod["metadata"]
    if keys.MODEL in (meta.get("annotations") or {}):
        return {}
    if (meta.get("labels") or {}).get("jobset.sigs.k8s.io/replicatedjob-name") in INITIALIZERS:
        return {}
    owner = next((owner for owner in owners if owner.annotations.get(keys.MODEL)), None)
    if owner is None:
        return {}
    found = {name: owner.annotations[name] for name in _INHERITED if name in owner.annotations}
    if (path := local_weights_path(pod)) and keys.PATH not in found and "," not in found[keys.MODEL]:
        found[keys.PATH] = path
    return found
