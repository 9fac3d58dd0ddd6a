"""KubeRay (ray.io/v1): a multi-host replica is one group; head and single-host workers of a cluster are another.

Sizes are the RayCluster's, never on the pod. Where Ray's autoscaler changes the number of workers as it goes, head and
single-host workers are on their own. RayService and RayJob make a RayCluster for each upgrade, with a name and UID of
its own; a recreated multi-host replica gets a new random name. A RayService configures Serve only when its head is
Ready, so the head must never wait for what Serve loads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.groups import single
from controller.groups.member import GroupMember, Part, Subject, whole_number
from controller.groups.owner import Owner
from controller.groups.parts import asking, total

_PREFIX = "ray.io/"
_HEAD = "headgroup"  # KubeRay's own name of the head's group


def resolve(subject: Subject) -> GroupMember | None:
    labels = subject.labels
    if labels.get(_PREFIX + "is-ray-node") != "yes":
        return None
    cluster = subject.controller("RayCluster", group="ray.io")
    replica = labels.get(_PREFIX + "worker-group-replica-name")
    if replica:
        return _multi_host(subject, replica, cluster)
    if cluster is None or not cluster.spec or cluster.spec.get("enableInTreeAutoscaling"):
        return single.member(subject, system="kuberay")
    parts = asking(_single_hosts(cluster.spec))
    head = labels.get(_PREFIX + "node-type") == "head"
    return GroupMember(
        system="kuberay",
        namespace=subject.namespace,
        key=cluster.name,
        name=cluster.name,
        size=total(parts),
        index=0 if head else None,
        leader=head,
        incarnation=cluster.uid,
        role=_HEAD if head else labels.get(_PREFIX + "group", ""),
        parts=parts,
    )


def _multi_host(subject: Subject, replica: str, cluster: Owner | None) -> GroupMember:
    name = subject.labels.get(_PREFIX + "group")
    groups = (cluster.spec.get("workerGroupSpecs") or ()) if cluster is not None else ()
    hosts = next((int(group.get("numOfHosts", 1)) for group in groups if group.get("groupName") == name), 1)
    index = whole_number(subject.labels.get(_PREFIX + "replica-host-index"), least=0)
    return GroupMember(
        system="kuberay",
        namespace=subject.namespace,
        key=replica,
        name=replica,
        size=hosts,
        index=index,
        leader=index == 0,
        incarnation=cluster.uid if cluster is not None else "",
    )


def _single_hosts(spec: Mapping[str, Any]) -> Iterator[Part]:
    yield Part(_HEAD, 1, (spec.get("headGroupSpec") or {}).get("template") or {})
    for group in spec.get("workerGroupSpecs") or ():
        if int(group.get("numOfHosts", 1)) == 1:
            yield Part(group.get("groupName", ""), _replicas(group), group.get("template") or {})


def _replicas(group: Mapping[str, Any]) -> int:
    if group.get("suspend"):
        return 0
    least, most = int(group.get("minReplicas") or 0), int(group.get("maxReplicas") or (1 << 31))
    return max(least, min(int(group.get("replicas") or 0), most))
