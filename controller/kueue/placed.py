"""Where Kueue has placed a group: nodes, or domains within which the scheduler still chooses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from controller.groups import GroupMember
from controller.groups.member import whole_number
from controller.groups.placer import KUEUE, placer
from controller.kueue.workload import Place, PodSet, Workload, pod_set_name, workload_name
from controller.objects.nodes import HOSTNAME, NodeView
from controller.objects.pods import Pod, gates

TOPOLOGY_GATE = "kueue.x-k8s.io/topology"


@dataclass(frozen=True, slots=True)
class Placed:
    """``nodes`` by name. ``exact``: pods go to every one of them; else to some. ``waits``: not said yet, or said of
    nodes that the cluster does not have, which Kueue will replace."""

    nodes: tuple[str, ...] = ()
    exact: bool = False
    waits: bool = False


def placed(
    member: GroupMember,
    pods: Sequence[Pod],
    *,
    workloads: Mapping[tuple[str, str], Workload],
    nodes: Mapping[str, NodeView],
) -> Placed | None:
    """None where Kueue does not place the group, or we cannot know where and its own gate does not hold the pods."""
    mine = [pod for pod in pods if placer(pod) == KUEUE]
    if not mine:
        return None
    name = next((name for name in map(workload_name, mine) if name), "")
    workload = workloads.get((member.namespace, name))
    places = None if workload is None else _places(workload, member, mine)
    if not places:
        return Placed(waits=True) if any(TOPOLOGY_GATE in gates(pod) for pod in mine) else None
    exact = all(HOSTNAME in place.labels for place in places)
    found = nodes_at(places, nodes)
    missing = len({place.labels[HOSTNAME] for place in places}) - len(found) if exact else not found
    return Placed(waits=True) if missing else Placed(tuple(sorted(found)), exact)


def nodes_at(places: Iterable[Place], nodes: Mapping[str, NodeView]) -> set[str]:
    """Names of the nodes with the labels of any place."""
    found: set[str] = set()
    wanted: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for place in places:
        wanted.setdefault(tuple(place.labels), set()).add(tuple(place.labels.values()))
    for levels, values in wanted.items():
        if levels == (HOSTNAME,) and all(name in nodes and nodes[name].hostname == name for (name,) in values):
            found |= {name for (name,) in values}  # named alike nearly everywhere, which spares looking at all nodes
            continue
        found |= {n for n, view in nodes.items() if tuple(view.labels.get(level, "") for level in levels) in values}
    return found


def _places(workload: Workload, member: GroupMember, pods: Sequence[Pod]) -> list[Place]:
    """Empty while a pod set of the group is not assigned."""
    mine = {pod_set_name(pod) for pod in pods}
    sets = [s for s in workload.pod_sets if s.name in mine or (member.system != "jobset" and s.annotations)]
    if not sets or any(s.places is None for s in sets):
        return []
    if len(sets) == 1 and sets[0].count > member.size:
        ranked = _of_this_job(sets[0], member, pods)
        if ranked:
            return ranked
    return [place for s in sets for place in s.places or ()]


def _of_this_job(pod_set: PodSet, member: GroupMember, pods: Sequence[Pod]) -> list[Place]:
    """A replicated Job's pods fill the pod set's places in rank order, one Job after another (topology ungater)."""
    labels = pods[0]["metadata"].get("labels") or {}
    job = whole_number(labels.get("jobset.sigs.k8s.io/job-index"), least=0)
    if job is None:
        return []
    return list(islice(_one_by_one(pod_set.places or ()), job * member.size, (job + 1) * member.size))


def _one_by_one(places: Iterable[Place]) -> Iterator[Place]:
    for place in places:
        for _ in range(place.pods):
            yield place
