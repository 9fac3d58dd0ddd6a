"""Giving models up: ``warmset cool`` marks a WarmSet, and then it asks for nothing any more.

What its nodes still hold of its models, and no other WarmSet or pod wants, gets a tombstone in their NodeCaches.
Deleting a WarmSet removes nothing from any node: the bytes stay until the room is needed.
"""

from __future__ import annotations

from collections.abc import Iterable

from api import keys
from api.resources import WarmSet


def is_cooled(warm_set: WarmSet) -> bool:
    return warm_set.metadata.annotations.get(keys.COOL) == "true"


def cooled_models(warm_sets: Iterable[WarmSet]) -> frozenset[str]:
    """Hashes of the models of cooled WarmSets. Only models of their own namespaces: to be allowed to use another
    namespace's Model is not to be allowed to take it from others."""
    return frozenset(
        keys.model_key(warm_set.metadata.namespace, name.rpartition("/")[2])
        for warm_set in warm_sets
        if is_cooled(warm_set)
        for name in warm_set.spec.models
        if name.rpartition("/")[0] in ("", warm_set.metadata.namespace)
    )
