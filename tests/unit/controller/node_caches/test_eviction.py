"""What a plan would evict, as far as a NodeCache tells."""

from __future__ import annotations

from typing import Any

from api import keys
from api.fields import ObjectMeta
from api.resources import NodeCache, NodeCacheSpec, NodeCacheStatus, NodeModel, NodeModelStatus
from controller.node_caches.eviction import Room, room


def hashed(name: str) -> str:
    return keys.model_key("team", name)


def cache(held: dict[str, int], *, capacity: int = 100, **wanted: dict[str, Any]) -> NodeCache:
    models = [NodeModelStatus(model=hashed(n), revision="r", state="Ready", bytes_total=b) for n, b in held.items()]
    return NodeCache(
        metadata=ObjectMeta(name="n"),
        spec=NodeCacheSpec(models=[NodeModel(model=hashed(n), revision="r", **more) for n, more in wanted.items()]),
        status=NodeCacheStatus(capacity=capacity, used=sum(held.values()), models=models),
    )


def asked(found: NodeCache, need: int, *, keep: str = "new", priority: int = 0) -> Room:
    return room(found, need, keep=frozenset({(hashed(keep), "r")}), priority=priority)


def test_nothing_goes_while_there_is_room() -> None:
    assert asked(cache({"old": 60}), 40) == Room()


def test_what_nobody_wants_goes_the_largest_first() -> None:
    assert asked(cache({"small": 10, "large": 60}), 50) == Room((hashed("large"),), 60, 0)


def test_what_is_wanted_as_much_planned_or_pinned_stays() -> None:
    found = cache({"a": 30, "b": 30, "c": 30}, a={"priority": 1}, b={"groups": ["g"]}, c={"pinned": True})
    assert asked(found, 50, priority=1) == Room((), 0, 40)
    assert asked(found, 30, priority=2) == Room((hashed("a"),), 30, 0)


def test_what_is_asked_for_is_not_evicted_for_itself() -> None:
    assert asked(cache({"new": 90}), 30) == Room((), 0, 20)


def test_of_a_node_without_a_report_nothing_is_said() -> None:
    assert room(None, 10, keep=frozenset(), priority=0) == Room()
