"""LeaderWorkerSet (leaderworkerset.x-k8s.io/v1): one leader pod and size-1 workers.

The leader's StatefulSet makes leader pods; each leader pod owns the StatefulSet of its workers. The group-key is
sha1("<namespace>/<leader pod>") and survives recreation, so the leader pod's UID tells one life from the next.
LWS's own webhook sets group-key on leaders and worker-index on workers; a webhook that runs before it sees pods
without them, hence both are derived where missing.

With ``exclusive-topology`` the workers' StatefulSet is made only after the leader was bound, and its pods get a
nodeSelector for the leader's domain: the leader must never wait for its workers to exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from controller.groups.member import GroupMember, Owner, ordinal, whole_number

_PREFIX = "leaderworkerset.sigs.k8s.io/"


def resolve(pod: dict[str, Any], *, namespace: str, owners: Sequence[Owner]) -> GroupMember | None:
    meta = pod["metadata"]
    labels = meta.get("labels") or {}
    annotations = meta.get("annotations") or {}
    if _PREFIX + "name" not in labels:
        return None
    pod_name = meta.get("name", "")
    leader_name = annotations.get(_PREFIX + "leader-name", "")
    leads = not leader_name
    topology_key = annotations.get(_PREFIX + "exclusive-topology", "")
    return GroupMember(
        system="lws",
        namespace=namespace,
        key=labels.get(_PREFIX + "group-key") or _group_key(namespace, leader_name or pod_name),
        name=leader_name or pod_name,
        size=whole_number(annotations.get(_PREFIX + "size"), least=1) or 1,
        index=0 if leads else _worker_index(labels, pod_name),
        leader=leads,
        revision=labels.get(_PREFIX + "template-revision-hash", ""),
        incarnation=meta.get("uid", "") if leads else _leader_uid(owners),
        topology_key=topology_key,
        exclusive=bool(topology_key),
    )


def _group_key(namespace: str, leader_name: str) -> str:
    # sha1 because LWS uses it (pkg/utils Sha1Hash); it names, it protects nothing.
    return hashlib.sha1(f"{namespace}/{leader_name}".encode(), usedforsecurity=False).hexdigest()


def _worker_index(labels: dict[str, str], pod_name: str) -> int | None:
    labelled = whole_number(labels.get(_PREFIX + "worker-index"), least=0)
    return labelled if labelled is not None else ordinal(pod_name)


def _leader_uid(owners: Sequence[Owner]) -> str:
    return next((owner.uid for owner in owners if owner.kind == "Pod"), "")
