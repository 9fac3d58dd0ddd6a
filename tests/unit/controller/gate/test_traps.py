"""APIs that make later pods only once earlier ones are scheduled or Ready: nothing waits for pods that cannot exist.

Each trap gives the pods that exist first and those that come after; the nodes have room for the declared size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from api import keys
from api.resources import NodeModelStatus
from controller.gate.decide import Decision, GroupFacts, decide
from controller.models.wanted import Wanted
from controller.node_caches.warmth import Warmth
from controller.objects.nodes import NodeView
from controller.planning.snapshot import NodeFacts, snapshot_of
from tests.support.workloads import Workloads, load

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = Wanted("team/llama", "sha256:" + "a" * 64, bytes=100)
GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Trap:
    file: str
    first: tuple[str, ...]
    later: tuple[str, ...]
    same_group: bool  # else the later pods are a group of their own


TRAPS = {
    "lws exclusive topology: workers once the leader is bound": Trap(
        "lws", ("vllm-0",), ("vllm-0-1", "vllm-0-2"), True
    ),
    "lws LeaderReady: workers once the leader is Ready": Trap("lws", ("vllm-0",), ("vllm-0-1",), True),
    "lws sub-groups: the second once the first is bound": Trap(
        "lws-subgroups", ("sub-0-1", "sub-0-4"), ("sub-0-5", "sub-0-8"), False
    ),
    "statefulset OrderedReady: pod 1 once pod 0 is Ready": Trap("statefulset", ("web-0",), ("web-1",), False),
    "jobset exclusive topology: followers once the leader is bound": Trap(
        "jobset", ("workers-0-0",), ("workers-0-1",), True
    ),
    "jobset InOrder and dependsOn: workers once the driver is Ready": Trap(
        "jobset", ("driver-0",), ("workers-0-0", "workers-0-1"), False
    ),
    "trainjob: nodes once the initializer is done": Trap("trainjob", ("initializer-0",), ("node-0", "node-1"), False),
    "mpijob WaitForWorkersReady: launcher once the workers are Ready": Trap(
        "mpijob", ("late-worker-0", "late-worker-1"), ("late-launcher-0",), False
    ),
    "mpijob: the launcher's Job makes its pod later": Trap(
        "mpijob", ("llm-worker-0", "llm-worker-1"), ("llm-launcher-0",), True
    ),
    "rayservice: Serve only once the head is Ready": Trap("kuberay", ("head",), ("gpu-0", "gpu-1"), True),
    "ray head before a multi-host replica": Trap("kuberay", ("head",), ("slice-0", "slice-1"), False),
    "job: more completions than run at a time": Trap("job", ("train-0",), ("train-1",), True),
    "grove: a scaled gang after the base gang": Trap("grove", ("frontend-0",), ("pleader-0", "pworker-0"), False),
}


def nodes(*, warm: bool, count: int = 6) -> tuple[NodeFacts, ...]:
    ready = NodeModelStatus(model=MODEL.hash, revision=MODEL.revision, state="Ready", tree="sha256:" + "1" * 64)
    found = []
    for name in (f"n{i}" for i in range(count)):
        view = NodeView(name=name, uid=name, labels={"kubernetes.io/hostname": name, "rack": "r1"})
        done = MODEL.bytes if warm else 0
        warmth = Warmth(name, has_agent=True, states=(ready if warm else None,), bytes_total=100, bytes_done=done)
        found.append(NodeFacts(view=view, free={GPU: 8, "cpu": 64000, "pods": 10}, warmth=warmth))
    return tuple(found)


def existing(workloads: Workloads, *uids: str, on: str = "") -> list[dict[str, Any]]:
    """Gated by us alone; bound where ``on`` names a node."""
    found = []
    for uid in uids:
        pod = workloads.pods[uid]
        gates = [] if on else [{"name": keys.GATE}]
        found.append(pod | {"spec": pod["spec"] | {"schedulingGates": gates, "nodeName": on}})
    return found


def look(workloads: Workloads, uid: str, pods: list[dict[str, Any]], where: tuple[NodeFacts, ...]) -> Decision:
    """The decision about the group of pod ``uid``, of which ``pods`` exist."""
    roles = {("team", p["metadata"]["name"]): workloads.member(p["metadata"]["uid"]).role for p in pods}
    member = workloads.member(uid)
    return decide(
        GroupFacts(member=member, pods=tuple(pods), nodes=snapshot_of(where), wanted=(MODEL,), roles=roles), now=NOW
    )


def names(workloads: Workloads, uids: tuple[str, ...]) -> set[str]:
    return {workloads.pods[uid]["metadata"]["name"] for uid in uids}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_the_first_pods_go_when_their_nodes_are_warm_though_the_others_do_not_exist(trap: Trap) -> None:
    workloads = load(trap.file)
    decision = look(workloads, trap.first[0], existing(workloads, *trap.first), nodes(warm=True))
    assert {name for _, name in decision.release} == names(workloads, trap.first)
    assert decision.reason == "Warm"


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_the_first_pods_wait_for_cold_nodes_and_for_nothing_else(trap: Trap) -> None:
    workloads = load(trap.file)
    decision = look(workloads, trap.first[0], existing(workloads, *trap.first), nodes(warm=False))
    assert (decision.reason, decision.release) == ("Warming", ())


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_the_later_pods_go_when_they_come(trap: Trap) -> None:
    """Of the same group on arrival, warm or not; of a group of their own when their nodes are warm."""
    workloads = load(trap.file)
    late = existing(workloads, *trap.later)
    if trap.same_group:
        pods = [*existing(workloads, *trap.first, on="n0"), *late]
        decision = look(workloads, trap.first[0], pods, nodes(warm=False))
    else:
        assert workloads.member(trap.later[0]).id != workloads.member(trap.first[0]).id
        decision = look(workloads, trap.later[0], late, nodes(warm=True))
    assert {name for _, name in decision.release} == names(workloads, trap.later)


def test_workers_that_do_not_exist_yet_are_planned_as_their_template_has_them() -> None:
    """The head of a Ray cluster asks for no GPU; nodes are taken for its workers all the same."""
    workloads = load("kuberay")
    decision = look(workloads, "head", existing(workloads, "head"), nodes(warm=False))
    assert len(decision.plan.nodes) == 2


def test_a_launcher_that_does_not_exist_yet_takes_no_node_of_its_own() -> None:
    """Else workers on a cluster of just their size would fit nowhere, and go cold."""
    workloads = load("mpijob")
    decision = look(
        workloads, "llm-worker-0", existing(workloads, "llm-worker-0", "llm-worker-1"), nodes(warm=False, count=2)
    )
    assert (decision.reason, len(decision.plan.nodes)) == ("Warming", 2)
