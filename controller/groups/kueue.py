"""Kueue groups of plain pods (kueue.x-k8s.io/v1beta2): a label names the group, an annotation its size.

For workloads that make pods themselves, Kueue adds the same label after creation; those are known by then.
"""

from __future__ import annotations

from controller.groups.member import GroupMember, Subject, whole_number

_PREFIX = "kueue.x-k8s.io/"


def resolve(subject: Subject) -> GroupMember | None:
    # With WorkloadIdentifierAnnotations, long names are in the annotation.
    name = subject.labels.get(_PREFIX + "pod-group-name") or subject.annotations.get(_PREFIX + "pod-group-name")
    if not name:
        return None
    index_label = subject.annotations.get(_PREFIX + "pod-group-pod-index-label", _PREFIX + "pod-group-pod-index")
    index = whole_number(subject.labels.get(index_label), least=0)
    return GroupMember(
        system="kueue",
        namespace=subject.namespace,
        key=name,
        name=name,
        size=whole_number(subject.annotations.get(_PREFIX + "pod-group-total-count"), least=1) or 1,
        index=index,
        leader=index == 0,
    )
