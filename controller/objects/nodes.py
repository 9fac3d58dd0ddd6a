"""Nodes as the planner sees them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api import keys
from controller.objects.quantities import Resources, resources

HOSTNAME = "kubernetes.io/hostname"

# What autoscalers read; cluster-autoscaler FAQ, "How can I prevent Cluster Autoscaler from scaling down a particular
# node?", and karpenter.sh, "Disruption", node-level controls.
PROTECTIONS = ("cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt")
ANNOTATIONS = (*PROTECTIONS, keys.PROTECTED)


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class NodeView:
    name: str
    uid: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    schedulable: bool = True
    allocatable: Resources = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)  # of those in ANNOTATIONS
    created: str = ""
    alike: str = field(init=False, repr=False, compare=False)  # the same for nodes that differ in name, labels and room

    def __post_init__(self) -> None:
        object.__setattr__(self, "alike", sys.intern(f"{self.ready:d}{self.schedulable:d}{self.taints}"))

    @property
    def hostname(self) -> str:
        """The value by which affinity terms name this node; it is the node's name on most clusters, not on all."""
        return self.labels.get(HOSTNAME, self.name)


def view(node: dict[str, Any]) -> NodeView:
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return NodeView(
        name=meta["name"],
        uid=meta["uid"],
        labels=meta.get("labels") or {},
        taints=tuple(Taint(t["key"], t.get("value", ""), t["effect"]) for t in spec.get("taints") or ()),
        ready=conditions.get("Ready") == "True" and not meta.get("deletionTimestamp"),
        schedulable=not spec.get("unschedulable", False),
        allocatable=resources(status.get("allocatable")),
        annotations=_annotations(meta),
        created=meta.get("creationTimestamp", ""),
    )


def trim(node: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a Node: 5,000 whole ones, with their image lists, would fill the controller's memory."""
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    kept_meta = ("name", "uid", "resourceVersion", "labels", "creationTimestamp", "deletionTimestamp")
    return {
        "metadata": {name: meta[name] for name in kept_meta if name in meta} | {"annotations": _annotations(meta)},
        "spec": {name: spec[name] for name in ("taints", "unschedulable") if name in spec},
        "status": {
            "allocatable": status.get("allocatable") or {},
            "conditions": [
                {"type": c["type"], "status": c["status"]}
                for c in status.get("conditions") or ()
                if c["type"] == "Ready"
            ],
        },
    }


def _annotations(meta: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in (meta.get("annotations") or {}).items() if name in ANNOTATIONS}
