"""How long the controller takes to decide about one group, from a snapshot of a large cluster.

    python -m benchmarks.plan --nodes 5000 --groups 1000

No API server: the controller's own memory is filled, then each group is looked at, planned and decided, one after
another, each pod for a node of its own. A third of the nodes holds the model, racks of 16 lie in blocks of 256 and
zones of 2,048. "First" is the very first group, for which all nodes are read; "again" is a group that has its plan.
"Anew" is the rival: the same decision by a planner that remembers nothing of the groups before, for every
`ANEW_EVERY`th group, and it must be the same. With `--models` groups ask for different models in turn. Groups for which
nothing is left are counted as `unplaced`, and "waiting" is one more look at each of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from api import keys
from controller.cluster.roster import Enrolment, Roster
from controller.cluster.snapshots import Snapshots
from controller.cluster.world import World
from controller.config import HoldLimits
from controller.gate.decide import Decision, GroupFacts, decide, suffices
from controller.gate.gather import group_facts
from controller.groups import GroupMember, Owner
from controller.planning.planner import Planner
from controller.planning.snapshot import Snapshot
from controller.takeover import spare_collector

GPU = "nvidia.com/gpu"
LEVELS, DOMAIN_SIZES = ("zone", "block", "rack"), (2048, 256, 16)
REVISION = "sha256:" + "a" * 64
TREE = "sha256:" + "b" * 64
LIMITS = HoldLimits(1800)
ANEW_EVERY = 20
NOW = datetime.now(UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--size", type=int, default=4, help="pods of a group")
    parser.add_argument("--models", type=int, default=1)
    arguments = parser.parse_args()
    world = _cluster(arguments.nodes, models=arguments.models)
    roster = _groups(world, arguments.groups, size=arguments.size, models=arguments.models)
    snapshots = Snapshots(world, roster, levels=LEVELS)
    spare_collector()  # as the controller does
    first, again, anew, unplaced, cpu_s = [], [], [], 0, 0.0
    for number, group in enumerate(roster.groups()):
        begun, cpu = time.perf_counter(), time.process_time()
        facts = group_facts(snapshots, group, limits=LIMITS)
        assert facts is not None
        decision = decide(facts, now=NOW)
        first.append(time.perf_counter() - begun)
        cpu_s += time.process_time() - cpu
        if number % ANEW_EVERY == 0:
            anew.append(_anew(facts, expected=decision))
        roster.set_plan(group, decision.plan)
        unplaced += not decision.plan.nodes
        begun = time.perf_counter()
        held = group_facts(snapshots, group, limits=LIMITS, only_held=True)
        assert held is not None
        if suffices(held):
            decide(held, now=NOW)
        again.append(time.perf_counter() - begun)
    waiting = [_decided(snapshots, group) for group in roster.groups() if not roster.plan(group).nodes]
    result = {
        "nodes": arguments.nodes,
        "groups": arguments.groups,
        "unplaced": unplaced,
        "first_ms": _ms(first[0]),
        "each_ms": {"median": _ms(statistics.median(first)), "max": _ms(max(first))},
        "again_ms": {"median": _ms(statistics.median(again)), "max": _ms(max(again))},
        "waiting_ms": {"median": _ms(statistics.median(waiting)), "max": _ms(max(waiting))} if waiting else None,
        "anew_ms": {"median": _ms(statistics.median(anew)), "max": _ms(max(anew))},
        "anew_over_each": round(statistics.median(anew) / statistics.median(first), 1),
        "all_s": round(sum(first), 2),
        "all_cpu_s": round(cpu_s, 2),
    }
    print(json.dumps(result, indent=2))


def _decided(snapshots: Snapshots, group: str) -> float:
    """Seconds for one more look at a group that nothing is left for."""
    begun = time.perf_counter()
    facts = group_facts(snapshots, group, limits=LIMITS)
    assert facts is not None
    decide(facts, now=NOW)
    return time.perf_counter() - begun


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _anew(facts: GroupFacts, *, expected: Decision) -> float:
    """Seconds for the same decision, every domain looked at and packed for this group alone."""
    nodes = Snapshot(facts.nodes.keys(), facts.nodes.__getitem__, Planner(facts.nodes.planner.candidates.values()))
    begun = time.perf_counter()
    decision = decide(replace(facts, nodes=nodes), now=NOW)
    taken_s = time.perf_counter() - begun
    assert decision == expected
    return taken_s


def _cluster(count: int, *, models: int) -> World:
    world = World()
    allocatable = {"cpu": "96", "memory": "1Ti", "pods": "110", GPU: "8"}
    for index in range(count):
        name = f"node-{index}"
        places = {level: f"{level}-{index // size}" for level, size in zip(LEVELS, DOMAIN_SIZES, strict=True)}
        labels = {"kubernetes.io/hostname": name, **places}
        status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]}
        world.on_node(("", name), {"metadata": {"name": name, "uid": name, "labels": labels}, "status": status})
        model = keys.model_key("team", f"llama-{index // 3 % models}")
        held = {"model": model, "revision": REVISION, "state": "Ready", "tree": TREE}
        said = {"nodeUID": name, "models": [held] if index % 3 == 0 else []}
        world.on_cache(("", name), {"metadata": {"name": name}, "status": said})
    for number in range(models):
        name = f"llama-{number}"
        found = {
            "metadata": {"namespace": "team", "name": name, "generation": 1},
            "spec": {"source": "oci://registry.example.com/models/llama:v1"},
            "status": {"observedGeneration": 1, "revision": REVISION, "bytes": 10**11},
        }
        world.on_model(("team", name), found)
    return world


def _groups(world: World, count: int, *, size: int, models: int) -> Roster:
    roster = Roster()
    top = Owner(api_version="apps/v1", kind="StatefulSet", name="all", uid="all")
    for number in range(count):
        member = GroupMember(system="lws", namespace="team", key=f"g{number}", name=f"g{number}-0", size=size)
        for index in range(size):
            key = ("team", f"g{number}-{index}")
            world.on_pod(key, None, _pod(key[1], f"team/llama-{number % models}"))
            roster.enrol(key, Enrolment(member=member, chain=(), top=top))
    return roster


def _pod(name: str, model: str) -> dict[str, Any]:
    attributes = {keys.ATTRIBUTE_MODEL: model, keys.ATTRIBUTE_REVISION: REVISION}
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
