"""The plan of a WarmSet, worked out without a controller, is the controller's."""

from __future__ import annotations

from typing import Any

from api import keys
from api.fields import ObjectMeta
from api.resources import GroupPlacement, Placement, WarmSet, WarmSetSpec
from controller.cluster.preview import preview, world_of
from controller.cluster.world import World
from controller.models.wanted import Wanted
from controller.warm_sets.group_placement import group_id

MODEL = Wanted("team/llama", "r", bytes=10)
HASH = keys.model_key("team", "llama")


def warm_set(**placement: Any) -> WarmSet:
    meta = ObjectMeta(name="w", namespace="team", uid="u")
    return WarmSet(metadata=meta, spec=WarmSetSpec(models=["llama"], placement=Placement(**placement)))


def world(*names: str, warm: str = "", without_agent: str = "", held: dict[str, str] | None = None) -> World:
    nodes = [
        {
            "metadata": {"name": name, "uid": name, "labels": {"rack": name[0]}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
        for name in names
    ]
    caches = [
        {
            "metadata": {"name": name},
            "spec": {"models": [{"model": HASH, "revision": "r", "groups": [group]}]} if group else {},
            "status": {
                "nodeUID": name,
                "models": [{"model": HASH, "revision": "r", "state": "Ready"}] if name == warm else [],
            },
        }
        for name in names
        if name != without_agent
        for group in ((held or {}).get(name, ""),)
    ]
    return world_of(nodes, caches=caches)


def test_each_group_gets_nodes_of_its_own_those_with_bytes_first() -> None:
    found = preview(
        warm_set(groups=GroupPlacement(count=2, size=1)), world("a1", "a2", "a3", warm="a3"), (MODEL,), levels=()
    )
    assert [group.plan.nodes for group in found.groups] == [("a3",), ("a1",)]
    assert [node.missing_bytes for group in found.groups for node in group.nodes] == [0, 10]


def test_nodes_and_domains_that_are_out_have_reasons() -> None:
    found = preview(
        warm_set(groups=GroupPlacement(count=1, size=2)),
        world("a1", "b1", "b2", "c1", without_agent="c1"),
        (MODEL,),
        levels=("rack",),
    )
    assert (found.groups[0].plan.level, found.groups[0].plan.domain) == ("rack", "b")
    assert [(r.node, r.reason) for r in found.rejected] == [("c1", "NoAgent")]
    assert [(d.domain, d.left_over) for d in found.domains] == [("a", 1)]


def test_a_group_that_exists_keeps_its_nodes() -> None:
    placed = warm_set(groups=GroupPlacement(count=1, size=1))
    found = preview(placed, world("a1", "a2", warm="a1", held={"a2": group_id(placed, 0)}), (MODEL,), levels=())
    assert found.groups[0].plan.nodes == ("a2",)


def test_a_selector_takes_every_matching_node() -> None:
    found = preview(warm_set(node_selector={"rack": "a"}), world("a1", "b1", "a2"), (MODEL,), levels=())
    assert [node.node for node in found.groups[0].nodes] == ["a1", "a2"]
