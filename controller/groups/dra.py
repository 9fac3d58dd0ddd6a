"""Pods that share one ResourceClaim by name, such as a channel between nodes.

The claim names the group, but nothing says how many pods will share it: only with ``warmset.dev/group-size`` on the
pods are they one. Claims from a template are made for each pod and shared by none.
"""

from __future__ import annotations

from api import keys
from controller.groups.member import GroupMember, Subject, whole_number


def resolve(subject: Subject) -> GroupMember | None:
    size = whole_number(subject.annotations.get(keys.GROUP_SIZE), least=2)
    claims = subject.pod["spec"].get("resourceClaims") or ()
    shared = next((claim["resourceClaimName"] for claim in claims if claim.get("resourceClaimName")), "")
    if size is None or not shared:
        return None
    index = whole_number(subject.annotations.get(keys.WORKER_INDEX), least=0)
    return GroupMember(
        system="dra",
        namespace=subject.namespace,
        key=shared,
        name=shared,
        size=size,
        index=index,
        leader=index == 0,
    )
