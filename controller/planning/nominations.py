"""Which pod of a group goes to which of its warm nodes. A proposal for the scheduler: it may say no.

The scheduler looks at a pod's ``status.nominatedNodeName`` before it looks anywhere else, and keeps the room there from
pods of the same or a lower priority meanwhile. A preferred hostname alone is not seen in a large cluster, where it
scores only a sample of the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from controller.objects.pods import Pod, key, nominated
from controller.objects.quantities import subtract
from controller.planning.fitting import misfit, shape, shortage
from controller.planning.snapshot import NodeFacts

Nominations = Mapping[tuple[str, str], str]  # a node's name by the pod's namespace and name


def nominate(pods: Iterable[Pod], nodes: Sequence[NodeFacts], *, waiting: Iterable[Pod]) -> Nominations:
    """A node's name for each pod that finds room, first fit. ``waiting``: members let go before, not bound yet."""
    free = {node.view.name: node.free for node in nodes}
    apart: set[str] = set()  # nodes with a pod that keeps its like away

    def put(pod: Pod, name: str) -> None:
        wanted = shape(pod)
        free[name] = subtract(free[name], wanted.requests)
        if wanted.one_per_node:
            apart.add(name)

    for pod in waiting:
        if nominated(pod) in free:
            put(pod, nominated(pod))
    found: dict[tuple[str, str], str] = {}
    for pod in sorted(pods, key=key):
        wanted = shape(pod)
        for node in nodes:
            name = node.view.name
            full = misfit(wanted, node.view) or shortage(wanted, free[name]) or (wanted.one_per_node and name in apart)
            if not full:
                found[key(pod)] = name
                put(pod, name)
                break
    return found
