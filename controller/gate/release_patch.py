"""The patch that lets a pod go: our gate removed, and the warm nodes preferred, in one write.

Node names are only ever *preferred* (weight 100): affinity is immutable once the gates are gone, and a required
name would strand the pod for good if another pod took the node first. *Required* is only the topology level that
the group itself asked for, since all of its pods want to be there anyway.

What may change while a gate is left (kube-apiserver, ValidatePodUpdate): required node affinity may be set where
there was none, else each existing term may only be appended to, and none added; preferred terms are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api import keys
from controller.objects.nodes import HOSTNAME
from controller.objects.pods import Pod, gates

PREFERENCE = 100  # the highest weight there is; other preferences of the user still count beside it

Operation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a release adds: ``hostnames`` to prefer, and the ``domain`` (label key, value) to require, if any."""

    hostnames: tuple[str, ...] = ()
    domain: tuple[str, str] | None = None


def release_patch(pod: Pod, terms: Terms) -> list[Operation]:
    """A JSON patch (RFC 6902) that applies to exactly this version of the pod; empty when our gate is not there."""
    names = gates(pod)
    if keys.GATE not in names:
        return []
    index = names.index(keys.GATE)
    domain = terms.domain
    if domain is not None and domain[0] in (pod["spec"].get("nodeSelector") or {}):
        domain = None  # said already
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": pod["metadata"]["resourceVersion"]},
        {"op": "test", "path": f"/spec/schedulingGates/{index}/name", "value": keys.GATE},
        *_affinity(pod["spec"], terms.hostnames, domain),
        *_note(pod["metadata"], domain),
        {"op": "remove", "path": f"/spec/schedulingGates/{index}"},
    ]


def _note(meta: dict[str, Any], domain: tuple[str, str] | None) -> list[Operation]:
    """What we required, for stranded.py to know our term from the user's."""
    if domain is None:
        return []
    annotations = {**(meta.get("annotations") or {}), keys.REQUIRED: "=".join(domain)}
    return [{"op": "add", "path": "/metadata/annotations", "value": annotations}]


def _affinity(spec: dict[str, Any], hostnames: tuple[str, ...], domain: tuple[str, str] | None) -> list[Operation]:
    affinity = spec.get("affinity") or {}
    before = affinity.get("nodeAffinity") or {}
    after = dict(before)
    if hostnames:
        ours = {"weight": PREFERENCE, "preference": {"matchExpressions": [_is_in(HOSTNAME, hostnames)]}}
        others = before.get("preferredDuringSchedulingIgnoredDuringExecution") or []
        after["preferredDuringSchedulingIgnoredDuringExecution"] = [*others, ours]
    if domain is not None:
        required = before.get("requiredDuringSchedulingIgnoredDuringExecution")
        after["requiredDuringSchedulingIgnoredDuringExecution"] = _required(required, domain)
    if after == before:
        return []
    return [{"op": "add", "path": "/spec/affinity", "value": {**affinity, "nodeAffinity": after}}]


def _required(required: dict[str, Any] | None, domain: tuple[str, str]) -> dict[str, Any]:
    """The domain in every term, because terms are alternatives. An empty term selects nothing and stays as it is."""
    ours = _is_in(domain[0], domain[1:])
    if required is None:
        return {"nodeSelectorTerms": [{"matchExpressions": [ours]}]}
    return {
        "nodeSelectorTerms": [
            {**term, "matchExpressions": [*(term.get("matchExpressions") or []), ours]} if any(term.values()) else term
            for term in required["nodeSelectorTerms"]
        ]
    }


def _is_in(key: str, values: Sequence[str]) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}
