"""Kubernetes' own workloads, by the pod's direct controller.

- StatefulSet (apps/v1): a group where ``podManagementPolicy`` is Parallel. With OrderedReady, pod 1 is made only
  when pod 0 is Ready, so its pods are on their own. A rolling update replaces one pod at a time, hence the revision
  is not part of the group: a replaced pod joins the others.
- Job (batch/v1): a group where Indexed; the pods of other Jobs take work when they come.
- Deployment: its pods are replicas of one node each. A group of them is what the user says it is (explicit.py).
- DaemonSet: one pod a node; its controller pins each by a required affinity on ``metadata.name``, which the planner
  respects like any other.
"""

from __future__ import annotations

from controller.groups import single
from controller.groups.member import GroupMember, Subject, ordinal, whole_number
from controller.groups.owner import Owner


def resolve(subject: Subject) -> GroupMember | None:
    if (found := subject.controller("StatefulSet", group="apps")) is not None:
        return stateful_set(subject, found, system="statefulset")
    if (found := subject.controller("Job", group="batch")) is not None:
        return _job(subject, found)
    if subject.controller("ReplicaSet", group="apps") is not None:
        return single.member(subject, system="deployment", revision=subject.labels.get("pod-template-hash", ""))
    if subject.controller("DaemonSet", group="apps") is not None:
        return single.member(subject, system="daemonset")
    return None


def stateful_set(subject: Subject, owner: Owner, *, system: str) -> GroupMember:
    if owner.spec.get("podManagementPolicy") != "Parallel":
        return single.member(subject, system=system)
    labelled = whole_number(subject.labels.get("apps.kubernetes.io/pod-index"), least=0)
    index = labelled if labelled is not None else ordinal(subject.name)
    return GroupMember(
        system=system,
        namespace=subject.namespace,
        key=owner.name,
        name=owner.name,
        size=declared(subject) or 1,
        index=index,
        leader=index == 0,
        incarnation=owner.uid,
    )


def _job(subject: Subject, owner: Owner) -> GroupMember:
    index = whole_number(subject.labels.get("batch.kubernetes.io/job-completion-index"), least=0)
    if index is None:
        return single.member(subject, system="job")
    return GroupMember(
        system="job",
        namespace=subject.namespace,
        key=owner.name,
        name=owner.name,
        size=declared(subject) or 1,
        index=index,
        leader=index == 0,
        incarnation=owner.uid,
    )


def declared(subject: Subject) -> int | None:
    """How many pods the pod's direct controller keeps from now on; None where that is not known."""
    if not subject.owners or not subject.owners[0].spec:
        return None
    owner = subject.owners[0]
    if owner.is_a("Job", group="batch"):
        parallelism = int(owner.spec.get("parallelism", 1))
        left = int(owner.spec.get("completions") or parallelism) - owner.finished
        return max(1, min(parallelism, left))
    if any(owner.is_a(kind, group="apps") for kind in ("StatefulSet", "ReplicaSet")):
        return max(1, int(owner.spec.get("replicas", 1)))
    return None
