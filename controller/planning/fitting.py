"""Whether a pod could run on a node, by the scheduler's own filters, and if not, why.

Covers readiness, cordons, taints, nodeSelector, required node affinity and requests; of pod anti-affinity only the
common form by which a group spreads itself over nodes or domains. What the scheduler checks beyond (ports, volumes,
topology spread, DRA) it checks when the gate is gone: our terms only prefer nodes, so a miss costs a slower start,
never a stranded pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.objects.nodes import HOSTNAME, NodeView, Taint
from controller.objects.quantities import Resources, lacking, pod_requests

_BLOCKING = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class PodShape:
    """What a pod asks of its node. Equal shapes fit the same nodes."""

    requests: Resources = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    required_terms: tuple[dict[str, Any], ...] | None = None
    tolerations: tuple[dict[str, Any], ...] = ()
    one_per_node: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a node is not used: a named reason and what is the matter."""

    node: str
    reason: str
    message: str


def shape(pod: dict[str, Any]) -> PodShape:
    spec = pod["spec"]
    affinity = spec.get("affinity") or {}
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    return PodShape(
        requests=pod_requests(spec),
        node_selector=spec.get("nodeSelector") or {},
        required_terms=None if required is None else tuple(required.get("nodeSelectorTerms") or ()),
        tolerations=tuple(spec.get("tolerations") or ()),
        one_per_node=_avoids_its_like(affinity, pod["metadata"].get("labels") or {}),
    )


def misfit(wanted: PodShape, node: NodeView) -> tuple[str, str] | None:
    """Reason and message why the node could never take the pod, or None. Free amounts are not looked at."""
    if not node.ready:
        return "NodeNotReady", "the node is not Ready"
    if not node.schedulable:
        return "NodeCordoned", "the node is cordoned"
    for taint in node.taints:
        if taint.effect in _BLOCKING and not any(_tolerates(t, taint) for t in wanted.tolerations):
            return "NodeTainted", f"taint {taint.key}={taint.value}:{taint.effect} is not tolerated"
    for name, value in wanted.node_selector.items():
        if node.labels.get(name) != value:
            return "SelectorMismatch", f"nodeSelector wants {name}={value}"
    if wanted.required_terms is not None and not any(_term_matches(t, node) for t in wanted.required_terms):
        return "AffinityMismatch", "no required node affinity term matches"
    return None


def shortage(wanted: PodShape, free: Resources) -> tuple[str, str] | None:
    """Reason and message when ``free`` does not hold the pod's requests, or None."""
    missing = lacking(free, wanted.requests)
    if not missing:
        return None
    parts = (f"{name}: {wanted.requests[name]} asked, {max(0, free.get(name, 0))} free" for name in missing)
    return "InsufficientResources", "; ".join(parts)


def selector_matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())


def _tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    # core/v1 Toleration.ToleratesTaint: an empty effect or (with Exists) an empty key stands for all.
    if toleration.get("effect") and toleration["effect"] != taint.effect:
        return False
    if toleration.get("key") and toleration["key"] != taint.key:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.value


def _term_matches(term: Mapping[str, Any], node: NodeView) -> bool:
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False  # an empty term selects nothing (component-helpers nodeaffinity)
    return all(_holds(e, node.labels) for e in expressions) and all(
        _holds(e, {"metadata.name": node.name}) for e in fields
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    name, values = expression["key"], expression.get("values") or ()
    have = labels.get(name)
    match expression["operator"]:
        case "In":
            return have is not None and have in values
        case "NotIn":
            return have is None or have not in values
        case "Exists":
            return have is not None
        case "DoesNotExist":
            return have is None
        case "Gt" | "Lt" as operator:
            return _compares(have, values, greater=operator == "Gt")
        case _:
            return False


def _compares(have: str | None, values: Sequence[str], *, greater: bool) -> bool:
    try:
        left, right = int(have or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if greater else left < right


def _avoids_its_like(affinity: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    terms = (affinity.get("podAntiAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    return any(term.get("topologyKey") == HOSTNAME and _selects(term.get("labelSelector"), labels) for term in terms)


def _selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """metav1.LabelSelector: none selects nothing, an empty one everything."""
    if selector is None:
        return False
    return selector_matches(selector.get("matchLabels") or {}, labels) and all(
        _holds(e, labels) for e in selector.get("matchExpressions") or ()
    )
