"""Groups: which pods start and fail together. One small module per workload API, asked in a fixed order.

An API that only sets labels on the way (a gang scheduler, a queue) is asked after those that make pods, since these
know the declared size; the user's own annotations win over all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from api.errors import WarmsetError
from controller.groups import (
    dra,
    explicit,
    grove,
    jobset,
    kai,
    kaito,
    knative,
    kserve,
    kuberay,
    kueue,
    lws,
    modelmesh,
    mpijob,
    podgroup,
    single,
    volcano,
    workloads,
)
from controller.groups.gang import GangReference
from controller.groups.member import GroupMember, Part, Subject
from controller.groups.owner import Owner

__all__ = ["GangReference", "GroupMember", "Owner", "Part", "gang_reference", "resolve"]

log = structlog.get_logger()

_RESOLVERS: tuple[Callable[[Subject], GroupMember | None], ...] = (
    explicit.resolve,
    lws.resolve,
    grove.resolve,
    jobset.resolve,
    kuberay.resolve,
    mpijob.resolve,
    kaito.resolve,
    kserve.resolve,
    knative.resolve,
    modelmesh.resolve,
    kueue.resolve,
    podgroup.resolve,
    volcano.resolve,
    kai.resolve,
    dra.resolve,
    workloads.resolve,
)


def resolve(
    pod: dict[str, Any], *, namespace: str = "", owners: Sequence[Owner] = (), gang: Owner | None = None
) -> GroupMember:
    """The group of ``pod``; a pod nobody claims is a group of one.

    ``owners`` is the pod's controller chain, nearest first; it may be empty (at admission), and then the group's
    incarnation and size may be unknown. ``gang`` is what ``gang_reference`` names. ``namespace`` stands in where
    the pod has none yet.
    """
    subject = Subject(pod=pod, namespace=pod["metadata"].get("namespace") or namespace, owners=tuple(owners), gang=gang)
    for ask in _RESOLVERS:
        try:
            member = ask(subject)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, WarmsetError) as error:
            # An object of somebody else's API that is not as that API says. Its pods must not be held for it.
            name = f"{subject.namespace}/{subject.name}"
            log.warning("group.not_understood", pod=name, asked=ask.__module__, error=repr(error))
            break
        if member is not None:
            return member
    return single.member(subject, system="pod")


def gang_reference(pod: dict[str, Any]) -> GangReference | None:
    """The PodGroup that the pod names, whose size its group needs; None where the workload API tells it."""
    subject = Subject(pod=pod, namespace=pod["metadata"].get("namespace", ""))
    asked = (which.reference(subject) for which in (grove, podgroup, volcano, kai))
    return next((found for found in asked if found is not None), None)
