"""Which nodes are to hold a content: those that a look at every node would find, and none that a quota keeps it off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from api import keys
from controller.cluster.roster import Enrolment, Roster
from controller.cluster.world import World
from controller.config import Quota
from controller.groups import GroupMember, Owner
from controller.planning.planner import Plan
from controller.reconcile.context import Context
from controller.reconcile.nodes import _admitted, _wanting

NODES = ("n1", "n2", "n3")
MODELS = ("llama", "draft")
TOP = Owner(api_version="apps/v1", kind="StatefulSet", name="chat", uid="chat")


def context(*, quotas: dict[str, Quota] | None = None) -> Context:
    found = SimpleNamespace(world=World(), roster=Roster(), config=SimpleNamespace(quotas=quotas or {}))
    for name in NODES:
        labels = {"pool": "a" if name == "n1" else "b"}
        found.world.on_node(("", name), {"metadata": {"name": name, "uid": name, "labels": labels}})
    for name in MODELS:
        body = {
            "metadata": {"namespace": "team", "name": name, "generation": 1},
            "spec": {"source": f"oci://registry.example.com/models/{name}:v1"},
            "status": {"observedGeneration": 1, "revision": "r", "bytes": 100},
        }
        found.world.on_model(("team", name), body)
    return cast("Context", found)


def add_pod(where: Context, number: int, *, model: str, on: str, planned: tuple[str, ...]) -> None:
    attributes = {keys.ATTRIBUTE_MODEL: f"team/{model}", keys.ATTRIBUTE_REVISION: "r"}
    volumes = [{"name": "w", "csi": {"driver": keys.CSI_DRIVER, "volumeAttributes": attributes}}]
    key = ("team", f"p{number}")
    meta = {"namespace": "team", "name": key[1], "uid": key[1], "creationTimestamp": "2026-01-01T00:00:00Z"}
    body = {"metadata": meta, "spec": {"nodeName": on, "containers": [{"name": "e"}], "volumes": volumes}}
    where.world.on_pod(key, None, body)
    member = GroupMember(system="pod", namespace="team", key=key[1], name=key[1], size=1)
    where.roster.enrol(key, Enrolment(member=member, chain=(), top=TOP))
    where.roster.set_plan(member.id, Plan(nodes=planned))


def add_warm_set(where: Context, number: int, *, model: str, placement: dict[str, Any]) -> None:
    meta = {"namespace": "team", "name": f"w{number}", "uid": f"w{number}"}
    where.world.on_warm_set(
        ("team", meta["name"]), {"metadata": meta, "spec": {"models": [model], "placement": placement}}
    )


MODEL = st.sampled_from(MODELS)
PODS = st.lists(
    st.tuples(MODEL, st.sampled_from(["", *NODES]), st.sets(st.sampled_from(NODES), max_size=2)), max_size=4
)
PLACEMENTS = st.sampled_from([{"nodes": ["n2"]}, {"nodeSelector": {"pool": "b"}}, {"groups": {"count": 1, "size": 1}}])
WARM_SETS = st.lists(st.tuples(MODEL, PLACEMENTS), max_size=3)


@settings(max_examples=200)
@given(PODS, WARM_SETS)
def test_they_are_those_that_a_look_at_every_node_finds(
    pods: list[tuple[str, str, set[str]]], warm_sets: list[tuple[str, dict[str, Any]]]
) -> None:
    where = context()
    for number, (model, on, planned) in enumerate(pods):
        add_pod(where, number, model=model, on=on, planned=tuple(sorted(planned)))
    for number, (model, placement) in enumerate(warm_sets):
        add_warm_set(where, number, model=model, placement=placement)
    for group in where.world.placed:
        where.roster.set_plan(group, Plan(nodes=("n3",)))
    for model in MODELS:
        content = (keys.model_key("team", model), "r")
        expected = {
            view.name
            for view in where.world.nodes.values()
            if any((d.wanted.hash, d.wanted.revision) == content for d in _admitted(where, view)[0])
        }
        assert set(_wanting(where, content)) == expected


def test_a_node_that_a_quota_keeps_it_off_is_not_among_them() -> None:
    where = context(quotas={"team": Quota(bytes_per_node="150")})
    add_pod(where, 0, model="draft", on="n1", planned=())  # uses the quota up there
    for name in ("n1", "n2"):
        add_warm_set(where, int(name[1]), model="llama", placement={"nodes": [name]})
    assert set(_wanting(where, (keys.model_key("team", "llama"), "r"))) == {"n2"}
