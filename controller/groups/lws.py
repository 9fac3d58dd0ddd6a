"""LeaderWorkerSet (leaderworkerset.x-k8s.io/v1): one leader pod and size-1 workers. DisaggregatedSet makes one a role.

The leader's StatefulSet makes leader pods; each leader pod owns the StatefulSet of its workers. The group-key is
sha1("<namespace>/<leader pod>") and survives recreation, so the leader pod's UID tells one life from the next.
LWS's own webhook sets group-key on leaders and worker-index on workers; a webhook that runs before it sees pods
without them, hence both are derived where missing.

With ``exclusive-topology`` the workers' StatefulSet is made only after the leader was bound, and its pods get a
nodeSelector for the leader's domain; with ``startupPolicy: LeaderReady`` only once the leader is Ready: the leader must
never wait for its workers to exist. Exclusive is against groups of the same namespace.

With ``subgroup-exclusive-topology`` each sub-group stays within a domain of its own, so each is planned as a group;
they are let go together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controller.groups.member import GroupMember, Part, Subject, ordinal, whole_number
from controller.groups.owner import Owner
from controller.groups.parts import asking, total

_PREFIX = "leaderworkerset.sigs.k8s.io/"
_LEADER_APART = "LeaderExcluded"


def resolve(subject: Subject) -> GroupMember | None:
    labels, annotations = subject.labels, subject.annotations
    if _PREFIX + "name" not in labels:
        return None
    leader_name = annotations.get(_PREFIX + "leader-name", "")
    leads = not leader_name
    topology_key = annotations.get(_PREFIX + "exclusive-topology", "")
    size = whole_number(annotations.get(_PREFIX + "size"), least=1) or 1
    parts = _parts(subject.owner("LeaderWorkerSet", group="leaderworkerset.x-k8s.io"), size)
    whole = GroupMember(
        system="lws",
        namespace=subject.namespace,
        key=labels.get(_PREFIX + "group-key") or _group_key(subject.namespace, leader_name or subject.name),
        name=leader_name or subject.name,
        size=total(parts) if parts else size,
        index=0 if leads else _worker_index(labels, subject.name),
        leader=leads,
        revision=labels.get(_PREFIX + "template-revision-hash", ""),
        incarnation=subject.uid if leads else _leader_uid(subject.owners),
        topology_key=topology_key,
        exclusive=bool(topology_key),
        exclusive_namespace=subject.namespace,
        role="leader" if leads else "worker",
        parts=parts,
        kind=labels.get("disaggregatedset.x-k8s.io/role", ""),
    )
    level = annotations.get(_PREFIX + "subgroup-exclusive-topology")
    return whole if not level else _subgroup(subject, whole, level=level, size=size)


def _parts(owner: Owner | None, size: int) -> tuple[Part, ...]:
    template: Mapping[str, Any] = (owner.spec.get("leaderWorkerTemplate") or {}) if owner is not None else {}
    workers = template.get("workerTemplate")
    if not workers:
        return ()
    return asking((Part("leader", 1, template.get("leaderTemplate") or workers), Part("worker", size - 1, workers)))


def _subgroup(subject: Subject, whole: GroupMember, *, level: str, size: int) -> GroupMember:
    """The sub-group alone; a leader that belongs to none is on its own."""
    annotations = subject.annotations
    per = whole_number(annotations.get(_PREFIX + "subgroup-size"), least=1) or size
    apart = annotations.get(_PREFIX + "subgroup-policy-type") == _LEADER_APART
    if whole.leader and apart:
        return replace(whole, size=1, parts=(), whole=whole.id)
    labelled = whole_number(subject.labels.get(_PREFIX + "subgroup-index"), least=0)
    mine = labelled if labelled is not None else _subgroup_index(whole.index or 0, size, per)
    indices = [i for i in range(1 if apart else 0, size) if _subgroup_index(i, size, per) == mine]
    counts = {"leader": int(0 in indices), "worker": len(indices) - (0 in indices)}
    parts = tuple(replace(part, count=counts[part.role]) for part in whole.parts if counts[part.role])
    return replace(
        whole,
        key=f"{whole.key}/{mine}",
        name=f"{whole.name}/{mine}" if mine or apart else whole.name,
        size=total(parts) if parts else len(indices),
        topology_key=level,
        exclusive=True,
        parts=parts,
        whole=whole.id,
    )


def _subgroup_index(worker: int, size: int, per: int) -> int:
    """As the webhook computes it (pod_webhook.go): a leader beside full sub-groups of workers joins the first."""
    if worker == 0:
        return 0
    return (worker - 1) // per if (size - 1) % per == 0 and size % per != 0 else worker // per


def _group_key(namespace: str, leader_name: str) -> str:
    # sha1 because LWS uses it (pkg/utils Sha1Hash); it names, it protects nothing.
    return hashlib.sha1(f"{namespace}/{leader_name}".encode(), usedforsecurity=False).hexdigest()


def _worker_index(labels: Mapping[str, str], pod_name: str) -> int | None:
    labelled = whole_number(labels.get(_PREFIX + "worker-index"), least=0)
    return labelled if labelled is not None else ordinal(pod_name)


def _leader_uid(owners: tuple[Owner, ...]) -> str:
    return next((owner.uid for owner in owners if owner.kind == "Pod"), "")
