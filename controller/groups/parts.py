"""The declared pods of a group by the templates they are made from.

Only templates that ask for weights count: a launcher without the annotation is never ours, and nothing may wait for
it. Where no template asks, its pods got the annotation another way (inherited from an owner), and all count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api import keys
from controller.groups.member import GroupMember, Part
from controller.planning.fitting import shape

MOST_PODS = 5000  # of one part that are planned for: whoever declares a billion must not cost us the memory for them


def asking(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Raises as ``shape`` does where a template is not one that a pod can be made from."""
    declared = tuple(part for part in parts if part.count > 0)
    for part in declared:
        shape(_pod(part.template) or {"metadata": {}, "spec": {}})
    return tuple(part for part in declared if asks(part)) or declared


def total(parts: Iterable[Part]) -> int:
    """The declared size, at least the one pod that was asked about."""
    return max(1, sum(part.count for part in parts))


def absent(
    member: GroupMember, *, roles: Sequence[str], pods: Sequence[dict[str, Any]]
) -> list[tuple[dict[str, Any], int]]:
    """Stand-ins for the declared pods that do not exist yet, and how many each stands for.

    ``roles`` are those of ``pods``, one for one. A stand-in looks like an existing pod of its part, else like the
    part's template, else like the last worker.
    """
    workers = sorted(pods, key=lambda pod: (pod["metadata"]["name"] == member.name, pod["metadata"]["name"]))
    anyone = workers[0] if workers else {"metadata": {}, "spec": {}}
    if not member.parts:
        return [(anyone, _lacking(member.size, len(pods)))]
    found: list[tuple[dict[str, Any], int]] = []
    for part in member.parts:
        alike = [pod for role, pod in zip(roles, pods, strict=True) if role == part.role]
        like = alike[-1] if alike else _pod(part.template) or anyone
        found.append((like, _lacking(part.count, len(alike))))
    return found


def _lacking(declared: int, existing: int) -> int:
    return max(0, min(declared, MOST_PODS) - existing)


def _pod(template: Mapping[str, Any]) -> dict[str, Any] | None:
    if not template.get("spec"):
        return None
    return {"metadata": template.get("metadata") or {}, "spec": template["spec"]}


def asks(part: Part) -> bool:
    return keys.MODEL in ((part.template.get("metadata") or {}).get("annotations") or {})
