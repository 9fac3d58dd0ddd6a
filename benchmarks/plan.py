"""How long the controller takes to decide about one group, from a snapshot of a large cluster.

    python -m benchmarks.plan --nodes 5000 --groups 1000

No API server: the controller's own memory is filled, then each group of 8 pods is looked at, planned and decided,
one after another. A third of the nodes holds the model. "Again" is the same for a group that has its plan.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import UTC, datetime
from typing import Any

from api import keys
from controller.book import Enrolment, GroupBook
from controller.decide import decide, suffices
from controller.facts import group_facts
from controller.groups import GroupMember, Owner
from controller.world import World

SIZE = 8
GPU = "nvidia.com/gpu"
REVISION = "sha256:" + "a" * 64
TREE = "sha256:" + "b" * 64
MAX_HOLD_S = 1800


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--groups", type=int, default=100)
    arguments = parser.parse_args()
    world = _cluster(arguments.nodes)
    book = _groups(world, arguments.groups)
    first, again = [], []
    for group in book.groups():
        begun = time.perf_counter()
        facts = group_facts(world, book, group, max_hold_s=MAX_HOLD_S)
        assert facts is not None
        book.set_plan(group, decide(facts, now=datetime.now(UTC)).plan)
        planned = time.perf_counter()
        held = group_facts(world, book, group, max_hold_s=MAX_HOLD_S, only_held=True)
        assert held is not None
        if suffices(held):
            decide(held, now=datetime.now(UTC))
        again.append(time.perf_counter() - planned)
        first.append(planned - begun)
    result = {
        "nodes": arguments.nodes,
        "groups": arguments.groups,
        "first_ms": {"median": _ms(statistics.median(first)), "max": _ms(max(first))},
        "again_ms": {"median": _ms(statistics.median(again)), "max": _ms(max(again))},
        "all_s": round(sum(first), 2),
    }
    print(json.dumps(result, indent=2))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _cluster(count: int) -> World:
    world = World()
    allocatable = {"cpu": "96", "memory": "1Ti", "pods": "110", GPU: "8"}
    for index in range(count):
        name = f"node-{index}"
        labels = {"kubernetes.io/hostname": name, "rack": f"rack-{index // 16}"}
        status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]}
        world.on_node(("", name), {"metadata": {"name": name, "uid": name, "labels": labels}, "status": status})
        held = {"model": keys.model_key("team", "llama"), "revision": REVISION, "state": "Ready", "tree": TREE}
        said = {"nodeUID": name, "models": [held] if index % 3 == 0 else []}
        world.on_cache(("", name), {"metadata": {"name": name}, "status": said})
    model = {
        "metadata": {"namespace": "team", "name": "llama", "generation": 1},
        "spec": {"source": "oci://registry.example.com/models/llama:v1"},
        "status": {"observedGeneration": 1, "revision": REVISION, "bytes": 10**11},
    }
    world.on_model(("team", "llama"), model)
    return world


def _groups(world: World, count: int) -> GroupBook:
    book = GroupBook()
    top = Owner(api_version="apps/v1", kind="StatefulSet", name="all", uid="all")
    for number in range(count):
        member = GroupMember(system="lws", namespace="team", key=f"g{number}", name=f"g{number}-0", size=SIZE)
        for index in range(SIZE):
            key = ("team", f"g{number}-{index}")
            world.on_pod(key, None, _pod(key[1]))
            book.enrol(key, Enrolment(member=member, chain=(), top=top))
    return book


def _pod(name: str) -> dict[str, Any]:
    attributes = {keys.ATTRIBUTE_MODEL: "team/llama", keys.ATTRIBUTE_REVISION: REVISION}
    requests = {GPU: "8", "cpu": "32", "memory": "256Gi"}
    return {
        "metadata": {"namespace": "team", "name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "schedulingGates": [{"name": keys.GATE}],
            "containers": [{"name": "engine", "resources": {"requests": requests}}],
            "volumes": [{"name": "w", "csi": {"driver": keys.CSI_DRIVER, "volumeAttributes": attributes}}],
        },
    }


if __name__ == "__main__":
    main()
