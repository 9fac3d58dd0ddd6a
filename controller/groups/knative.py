"""Knative Serving: every pod of a Revision serves on its own; a multi-node replica is the user's to name."""

from __future__ import annotations

from controller.groups import single
from controller.groups.member import GroupMember, Subject


def resolve(subject: Subject) -> GroupMember | None:
    revision = subject.labels.get("serving.knative.dev/revision")
    return single.member(subject, system="knative", revision=revision) if revision else None
