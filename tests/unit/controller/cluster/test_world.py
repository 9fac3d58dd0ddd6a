"""The controller's copy of the cluster, kept by single changes, equals one made from the whole."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api import keys
from controller.cluster.world import World, keep_pod, trim_pod
from controller.objects.pods import is_ours, models

GPU = "nvidia.com/gpu"


def node(name: str, **spec: Any) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True"}
    status = {"allocatable": {GPU: "8", "pods": "110"}, "conditions": [ready]}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "labels": {}}, "spec": spec, "status": status}


def pod(
    name: str, *, on: str = "", gpus: int = 1, ours: bool = False, phase: str = "Running", model: str = ""
) -> dict[str, Any]:
    csi = {"driver": keys.CSI_DRIVER, "volumeAttributes": {keys.ATTRIBUTE_MODEL: model}}
    labels = {keys.MANAGED_LABEL: "true"} if ours else {}
    return {
        "metadata": {"namespace": "t", "name": name, "uid": name, "resourceVersion": "1", "labels": labels},
        "spec": {
            "nodeName": on,
            "containers": [{"resources": {"requests": {GPU: str(gpus)}}}],
            "volumes": [{"name": "w", "csi": csi}] if model else [],
        },
        "status": {"phase": phase},
    }


PODS = st.builds(
    lambda number, on, gpus, ours, phase, model: pod(
        f"p{number}", on=on, gpus=gpus, ours=ours, phase=phase, model=model
    ),
    st.integers(0, 5),
    st.sampled_from(["", "n1", "n2"]),
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from(["Pending", "Running", "Succeeded"]),
    st.sampled_from(["", "t/llama"]),
)


@given(st.lists(st.tuples(PODS, st.booleans()), max_size=30))
def test_what_nodes_have_left_follows_every_change_of_their_pods(changes: list[tuple[dict[str, Any], bool]]) -> None:
    world = World()
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for name in ("n1", "n2"):
        world.on_node(("", name), node(name))
    for body, deleted in changes:
        key = ("t", body["metadata"]["name"])
        old = kept.pop(key, None)
        new = None if deleted or not keep_pod(body) else trim_pod(body)  # as the reflector does
        if new is not None:
            kept[key] = new
        if old is not None or new is not None:
            world.on_pod(key, old, new)
    for name in ("n1", "n2"):
        used = sum(_gpus(p) for p in kept.values() if p["spec"]["nodeName"] == name)
        assert world.free(world.nodes[name]).get(GPU, 0) == 8 - used
        assert [p["metadata"]["name"] for p in world.pods_on(name)] == sorted(
            p["metadata"]["name"] for p in kept.values() if is_ours(p) and p["spec"]["nodeName"] == name
        )
    assert list(world.pods_with("t/llama")) == [p for _, p in sorted(kept.items()) if models(p)]


def _gpus(body: dict[str, Any]) -> int:
    if "warmsetRequests" in body:
        return int(body["warmsetRequests"].get(GPU, 0))
    return int(body["spec"]["containers"][0]["resources"]["requests"][GPU])


def test_pods_that_are_being_deleted_are_about_to_give_their_room_back() -> None:
    world = World()
    world.on_node(("", "n1"), node("n1"))
    running, going = trim_pod(pod("p", on="n1", gpus=2)), pod("p", on="n1", gpus=2)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.on_pod(("t", "p"), None, running)
    assert world.leaving("n1") == {}
    world.on_pod(("t", "p"), running, trim_pod(going))
    assert (world.leaving("n1")[GPU], world.free(world.nodes["n1"])[GPU]) == (2, 6)
    world.on_pod(("t", "p"), trim_pod(going), None)
    assert (world.leaving("n1"), world.free(world.nodes["n1"])[GPU]) == ({}, 8)


def test_a_foreign_pod_is_reduced_to_what_it_takes() -> None:
    trimmed = trim_pod(pod("p", on="n1", gpus=2))
    assert "containers" not in trimmed["spec"]
    assert trimmed["warmsetRequests"][GPU] == 2


def test_an_object_that_cannot_be_read_leaves_the_copy_as_it_was() -> None:
    world = World()
    good = {"metadata": {"name": "m", "namespace": "t"}, "spec": {"source": "oci://r/x:1"}}
    world.on_model(("t", "m"), good)
    world.on_model(("t", "m"), good | {"spec": {"source": 5}})
    assert world.models["t/m"].spec.source == "oci://r/x:1"
    assert world.models_by_hash[keys.model_key("t", "m")] is world.models["t/m"]


def test_a_heartbeat_of_a_node_changes_nothing() -> None:
    world = World()
    assert world.on_node(("", "n1"), node("n1"))
    assert not world.on_node(("", "n1"), node("n1"))
    assert world.on_node(("", "n1"), node("n1", unschedulable=True))
    assert world.on_node(("", "n1"), None)
