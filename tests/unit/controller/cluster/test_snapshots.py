"""What nodes offer, kept between looks, is what a first look would find."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api import keys
from controller.cluster.journal import MOST, Journal
from controller.cluster.roster import Roster
from controller.cluster.snapshots import Snapshots
from controller.cluster.world import World
from controller.models.wanted import Wanted
from controller.planning.planner import Plan

MODEL = Wanted("team/llama", "r", bytes=10)
NAMES = ("a", "b", "c")


def node(name: str, *, gpus: int) -> dict[str, Any]:
    status = {"allocatable": {"gpu": str(gpus)}, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name, "uid": name}, "status": status}


def cache(name: str, *, state: str) -> dict[str, Any]:
    said = {"model": keys.model_key("team", "llama"), "revision": "r", "state": state}
    return {"metadata": {"name": name}, "status": {"nodeUID": name, "models": [said]}}


def pod(name: str, *, gpus: int) -> dict[str, Any]:
    containers = [{"resources": {"requests": {"gpu": str(gpus)}}}]
    return {
        "metadata": {"namespace": "team", "name": f"on-{name}"},
        "spec": {"nodeName": name, "containers": containers},
    }


CHANGES = st.tuples(
    st.sampled_from(["node", "cache", "plan", "pod", "look"]), st.sampled_from(NAMES), st.integers(0, 2)
)


@settings(max_examples=100)
@given(st.lists(CHANGES, max_size=20))
def test_offers_follow_every_change_of_nodes_caches_pods_and_plans(changes: list[tuple[str, str, int]]) -> None:
    world, roster = World(), Roster()
    kept = Snapshots(world, roster)
    pods: dict[str, dict[str, Any] | None] = {}
    for what, name, amount in [*changes, ("look", "", 0)]:
        if what == "node":
            world.on_node(("", name), node(name, gpus=amount) if amount else None)
        elif what == "cache":
            world.on_cache(("", name), cache(name, state=["Queued", "Pulling", "Ready"][amount]) if amount else None)
        elif what == "plan":
            roster.set_plan(f"group-{name}", Plan(nodes=(name,), reserved={name: {"gpu": amount}}) if amount else None)
        elif what == "pod":
            new = pod(name, gpus=amount) if amount else None
            world.on_pod(("team", f"on-{name}"), pods.get(name), new)
            pods[name] = new
        else:
            for group in ("group-a", "another"):
                seen, anew = kept.all(group, (MODEL,)), Snapshots(world, roster).all(group, (MODEL,))
                assert dict(seen) == dict(anew)
                assert dict(seen.planner.candidates) == dict(anew.planner.candidates)


def test_a_group_finds_free_what_its_own_plan_takes() -> None:
    world, roster = World(), Roster()
    world.on_node(("", "a"), node("a", gpus=8))
    roster.set_plan("mine", Plan(nodes=("a",), reserved={"a": {"gpu": 8}}))
    snapshots = Snapshots(world, roster)
    assert [facts.free["gpu"] for facts in snapshots.all("mine", (MODEL,)).values()] == [8]
    assert [facts.free["gpu"] for facts in snapshots.all("another", (MODEL,)).values()] == [0]


def test_a_node_s_heartbeat_is_no_change() -> None:
    world = World()
    world.on_node(("", "a"), node("a", gpus=8))
    before = len(world.journal)
    assert not world.on_node(("", "a"), node("a", gpus=8))
    assert len(world.journal) == before


def test_a_journal_tells_what_was_noted_since() -> None:
    journal = Journal()
    journal.note("ab")
    position = len(journal)
    journal.note("c")
    assert (journal.since(0), journal.since(position), journal.since(len(journal))) == ({"a", "b", "c"}, {"c"}, set())


def test_a_journal_tells_a_late_reader_too_much_rather_than_too_little() -> None:
    journal = Journal()
    journal.note(["first"])
    journal.note(["later"] * MOST)
    assert journal.since(0) == {"first", "later"}
