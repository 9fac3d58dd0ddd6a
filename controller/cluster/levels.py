"""Topology levels: node labels, widest first, by which groups are kept together.

From the configuration, where ``preset:<platform>`` stands for that platform's labels; else from the first object that
says them for another scheduler: Kueue's Topology, Grove's ClusterTopologyBinding, KAI's Topology.
"""

from __future__ import annotations

from collections.abc import Iterable

from api.errors import InvalidRequest
from controller.objects.nodes import HOSTNAME
from kube.client import ApiError, Client, Object
from kube.resources import Resource

PRESET = "preset:"
# By the platforms' own documentation; a node without a level's label is in no domain of it.
PRESETS = {
    "zones": ("topology.kubernetes.io/zone",),
    "gke": ("cloud.google.com/gce-topology-block", "cloud.google.com/gce-topology-subblock"),
    "aws": tuple(f"topology.k8s.aws/network-node-layer-{layer}" for layer in (1, 2, 3, 4)),
    "oci": tuple(f"oci.oraclecloud.com/rdma.{part}_id" for part in ("hpc_island", "network_block", "local_block")),
    "coreweave": tuple(f"ib.coreweave.cloud/{part}" for part in ("fabric", "superpod", "leafgroup")),
    "nvlink": ("nvidia.com/gpu.clique",),
    "topograph": tuple(f"fabric.topograph.run/tier-{tier}" for tier in (2, 1, 0)),
    "topograph-old": tuple(f"network.topology.nvidia.com/{part}" for part in ("core", "spine", "leaf")),
}

# The kinds that name levels, and the field of ``spec.levels[]`` that holds a label.
SAID_BY = (
    (Resource("kueue.x-k8s.io", "v1beta2", "topologies", "Topology", namespaced=False), "nodeLabel"),
    (Resource("kueue.x-k8s.io", "v1beta1", "topologies", "Topology", namespaced=False), "nodeLabel"),
    (
        Resource("grove.io", "v1alpha1", "clustertopologybindings", "ClusterTopologyBinding", namespaced=False),
        "key",
    ),
    (Resource("kai.scheduler", "v1alpha1", "topologies", "Topology", namespaced=False), "nodeLabel"),
)


def expand(levels: Iterable[str]) -> tuple[str, ...]:
    """With presets replaced by what they stand for. Raises InvalidRequest."""
    found: list[str] = []
    for level in levels:
        if not level.startswith(PRESET):
            found.append(level)
        elif (labels := PRESETS.get(level.removeprefix(PRESET))) is not None:
            found += labels
        else:
            raise InvalidRequest(f"topology level {level}: no such preset", hint=f"there are {', '.join(PRESETS)}")
    return tuple(dict.fromkeys(found))


async def discover(client: Client) -> tuple[str, ...]:
    """What another scheduler of the cluster goes by; nothing where there is none. Raises ApiError or
    ClusterUnavailable where that cannot be known now."""
    for resource, label in SAID_BY:
        for obj in await existing(client, resource):
            said = (obj.get("spec") or {}).get("levels") or ()
            levels = tuple(level[label] for level in said if level.get(label) and level[label] != HOSTNAME)
            if levels:
                return levels
    return ()


async def existing(client: Client, resource: Resource) -> list[Object]:
    """All objects of a kind that another project defines, the one called default first, then by name; nothing where the
    kind is not there, or not for us to read. Raises ApiError or ClusterUnavailable."""
    try:
        objects = await client.list(resource)
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return []
    return sorted(objects, key=lambda o: (o["metadata"]["name"] != "default", o["metadata"]["name"]))
