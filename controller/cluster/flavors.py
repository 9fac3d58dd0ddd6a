"""The nodes that Kueue places on by topology: those of ResourceFlavors that name one.

Kueue takes a taint that its pods do not tolerate for the failure of the node, and replaces it (feature gate
TASReplaceNodeOnNodeTaints, on by default since 0.17), so that no taint may hold such a node back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.cluster.levels import existing
from kube.client import Client
from kube.resources import Resource

FLAVORS = tuple(
    Resource("kueue.x-k8s.io", version, "resourceflavors", "ResourceFlavor", namespaced=False)
    for version in ("v1beta2", "v1beta1")
)

NodeLabels = Mapping[str, str]


async def topology_flavors(client: Client) -> tuple[NodeLabels, ...]:
    """The node labels of each such flavor; none without Kueue. Raises ApiError or ClusterUnavailable where that cannot
    be known now."""
    for resource in FLAVORS:
        specs = [flavor.get("spec") or {} for flavor in await existing(client, resource)]
        if specs:
            return tuple(spec.get("nodeLabels") or {} for spec in specs if spec.get("topologyName"))
    return ()


def is_of_any(labels: NodeLabels, flavors: Iterable[NodeLabels]) -> bool:
    """Whether a node with these labels is of one of the flavors."""
    return any(flavor.items() <= labels.items() for flavor in flavors)
