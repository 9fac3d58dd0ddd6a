"""What one node's NodeCache should say: all desires for the node, merged. Pure.

Three things put a model on a node: a group's plan, a WarmSet, and a pod that is bound there (planned or not: its
mount waits for the pull). What nobody desires any more is left out of the list, which removes nothing: the bytes
stay until the agent needs the room. Only cooling removes: an entry marked Absent, kept until the agent says that
the model is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api.resources import NodeCacheSpec, NodeModel, NodeModelStatus
from controller.models.wanted import Wanted

MOST_MODELS = 256  # as the schema
MOST_GROUPS = 256


@dataclass(frozen=True, slots=True)
class Desire:
    """One wish for one node. ``group`` is the id of the group whose plan it is, or ''.

    ``namespace`` is who asks; ``mounted``: by a pod that is bound to the node.
    """

    wanted: Wanted
    group: str = ""
    priority: int = 0
    pinned: bool = False
    namespace: str = ""
    mounted: bool = False


def merge(
    desires: Iterable[Desire], *, reported: Iterable[NodeModelStatus] = (), cooled: frozenset[str] = frozenset()
) -> NodeCacheSpec:
    """The node's list, sorted, so that equal desires give equal lists.

    ``cooled`` are hashes of models that somebody asked to give up; ``reported`` is what the agent says it holds.
    """
    wishes: dict[tuple[str, str], list[Desire]] = {}
    for desire in desires:
        if desire.wanted.revision:  # not resolved yet: there is nothing to pull
            wishes.setdefault((desire.wanted.hash, desire.wanted.revision), []).append(desire)
    entries = [_entry(key, found) for key, found in wishes.items()]
    entries += [
        NodeModel(model=status.model, revision=status.revision, desired="Absent")
        for status in reported
        if status.model in cooled and (status.model, status.revision) not in wishes
    ]
    entries.sort(key=lambda e: (e.desired == "Absent", -e.priority, e.model, e.revision))
    return NodeCacheSpec(models=entries[:MOST_MODELS])


def groups_held(spec: NodeCacheSpec) -> frozenset[str]:
    return frozenset(group for model in spec.models for group in model.groups)


def _entry(key: tuple[str, str], wishes: list[Desire]) -> NodeModel:
    return NodeModel(
        model=key[0],
        revision=key[1],
        priority=max(wish.priority for wish in wishes),
        pinned=any(wish.pinned for wish in wishes),
        groups=sorted({wish.group for wish in wishes if wish.group})[:MOST_GROUPS],
    )
