"""The reflectors, and which work each change of an object brings.

Changes go into the World at once, on every replica: the webhook and the broker read it. Work goes into the queue
only while this replica leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from api.resources import NodeCache, WarmSet, WarmSetSpec
from controller.cluster.claims import keep_volume, trim_volume
from controller.cluster.roster import Roster
from controller.cluster.world import World, keep_pod, trim_pod
from controller.kueue.watch import KueueWatch
from controller.kueue.workload import workload_name
from controller.models import permitted
from controller.objects.nodes import trim
from controller.objects.pods import Pod, is_gated, node
from controller.objects.resources import MODEL, NODE_CACHE, WARM_SET
from controller.reconcile.context import STATUS_DELAY_S, Kind, Queues, Work
from controller.warm_sets.group_placement import placed_groups
from controller.warm_sets.node_placement import selects
from controller.warm_sets.retention import asks
from kube.client import Client
from kube.reflector import Key, Reflector
from kube.resources import NODE, PERSISTENT_VOLUME, POD

Object = dict[str, Any]


class Watching:
    """``queues`` is None while another replica leads."""

    def __init__(self, client: Client, world: World, roster: Roster) -> None:
        self.queues: Queues | None = None
        self._world = world
        self._roster = roster
        self.reflectors = {
            "nodes": Reflector(client, NODE, trim=trim, on_change=self._on_node),
            "nodecaches": Reflector(client, NODE_CACHE, on_change=self._on_cache),
            "models": Reflector(client, MODEL, on_change=self._on_model),
            "warmsets": Reflector(client, WARM_SET, on_change=self._on_warm_set),
            "pods": Reflector(client, POD, keep=keep_pod, trim=trim_pod, on_change=self._on_pod),
            "persistentvolumes": Reflector(
                client, PERSISTENT_VOLUME, keep=keep_volume, trim=trim_volume, on_change=self._on_volume
            ),
        }
        self.kueue = KueueWatch(client, on_workload=self._on_workload, on_check=self._on_check)

    @property
    def missing(self) -> str:
        """Which collections have not been read yet, or ''."""
        return ", ".join(name for name, reflector in self.reflectors.items() if not reflector.synced.is_set())

    async def synced(self) -> None:
        for reflector in self.reflectors.values():
            await reflector.synced.wait()
        await self.kueue.known.wait()

    def everything(self) -> None:
        """All work there could be: after taking the lead."""
        for key in self._world.pods:
            self._add("pod", key)
        for name in self._world.nodes:
            self._add("node", ("", name))
        for model in self._world.models.values():
            self._add("model", (model.metadata.namespace, model.metadata.name))
        for key in self._world.warm_sets:
            self._add("warmset", key)
        for key in self._world.workloads:
            self._add("workload", key)
        for name in self._world.admission_checks:
            self._add("workload", ("", name))

    def _add(self, kind: Kind, key: Key) -> None:
        if self.queues is None:
            return
        work = Work(kind, *key)
        if kind == "warmset":
            self.queues.main.add_later(work, STATUS_DELAY_S)
        else:
            self.queues.of(kind).add(work)

    # -- changes --------------------------------------------------------------------------------------------

    def _on_node(self, key: Key, old: Object | None, new: Object | None) -> None:
        if not self._world.on_node(key, new):
            return
        self._add("node", key)
        self._add_groups(self._waiting)
        for warm_set_key, warm_set in self._world.warm_sets.items():
            if warm_set.spec.placement.workload is None:
                self._add("warmset", warm_set_key)

    def _on_cache(self, key: Key, old: Object | None, new: Object | None) -> None:
        before = self._world.caches.get(key[1])
        self._world.on_cache(key, new)
        after = self._world.caches.get(key[1])
        self._add("node", key)
        if _uid(before) != _uid(after) or _paused(before) != _paused(after):
            self._add_groups(self._waiting)  # an agent came or went, or its pause did
        for hashed in _ready(after) - _ready(before):
            if (model := self._world.models_by_hash.get(hashed)) is not None:
                self._add("model", (model.metadata.namespace, model.metadata.name))
        held = frozenset(self._roster.groups_on(key[1]))
        for group in held - self._world.placed.keys():
            self._add("group", ("", group))
        for pod in self._world.pods_on(key[1]):
            self._enrolled(pod)
        concerned = {self._world.placed[group] for group in held & self._world.placed.keys()}
        view = self._world.nodes.get(key[1])
        for warm_set_key, warm_set in self._world.warm_sets.items():
            selected = view is not None and selects(warm_set.spec.placement, view)
            if selected or warm_set_key in concerned:
                self._add("warmset", warm_set_key)

    def _on_model(self, key: Key, old: Object | None, new: Object | None) -> None:
        self._world.on_model(key, new)
        self._add("model", key)
        name = f"{key[0]}/{key[1]}"
        for pod in self._world.pods_with(name):
            self._enrolled(pod)
        self._add_nodes(self._world.claims.nodes_with(name))
        for warm_set_key, warm_set in self._world.warm_sets.items():
            if name in permitted.names(warm_set):
                self._add("warmset", warm_set_key)

    def _on_warm_set(self, key: Key, old: Object | None, new: Object | None) -> None:
        before = self._world.warm_sets.get(key)
        self._world.on_warm_set(key, new)
        after = self._world.warm_sets.get(key)
        self._add("warmset", key)
        for owner in after.metadata.owner_references if after is not None else ():
            if owner.kind == "Workload":  # Kueue's, which waits for it
                self._add("workload", (key[0], owner.name))
        if before is not None and after is not None and _asks(before) == _asks(after):
            return  # only its status has changed
        for group in set(placed_groups(before)) - set(placed_groups(after)):
            self._roster.set_plan(group, None)
        self._add_nodes(self._world.nodes)  # those it selected, and those it selects now

    def _on_pod(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        known = self._world.pods.get(key)
        self._add_nodes(self._world.on_pod(key, old, new))
        if new is None and old is not None and node(old):
            for group in self._roster.groups_on(node(old)):  # some wait for the room that it gave back
                self._add("group", ("", group))
        if known is None and key not in self._world.pods:
            return  # not ours
        self._add("pod", key)
        if known is not None and node(known):
            self._add("node", ("", node(known)))

    def _on_volume(self, key: Key, old: Object | None, new: Object | None) -> None:
        self._add_nodes(self._world.claims.on_volume(old, new))

    def _on_workload(self, key: Key, old: Object | None, new: Object | None) -> None:
        self._world.on_workload(key, new)
        self._add("workload", key)
        for (namespace, _), pod in self._world.pods.items():
            if namespace == key[0] and workload_name(pod) == key[1]:
                self._enrolled(pod)

    def _on_check(self, key: Key, old: Object | None, new: Object | None) -> None:
        self._world.on_check(key, new)
        self._add("workload", key)
        for name, workload in self._world.workloads.items():
            if key[1] in workload.checks:
                self._add("workload", name)

    # -- helpers --------------------------------------------------------------------------------------------

    def _enrolled(self, pod: Pod) -> None:
        enrolment = self._roster.enrolments.get((pod["metadata"]["namespace"], pod["metadata"]["name"]))
        if enrolment is not None:
            self._add("group", ("", enrolment.member.id))
            self._add("warmset", enrolment.warm_set)

    def _add_nodes(self, names: Iterable[str]) -> None:
        for name in names:
            self._add("node", ("", name))

    def _add_groups(self, which: Callable[[str], bool]) -> None:
        for group in self._roster.groups():
            if which(group):
                self._add("group", ("", group))

    def _waiting(self, group: str) -> bool:
        pods = (self._world.pods.get(key) for key in self._roster.pods(group))
        return any(pod is not None and is_gated(pod) for pod in pods)


def _asks(warm_set: WarmSet) -> tuple[WarmSetSpec, bool]:
    return warm_set.spec, asks(warm_set)


def _uid(cache: NodeCache | None) -> str:
    return cache.status.node_uid if cache else ""


def _paused(cache: NodeCache | None) -> bool:
    return cache is not None and cache.status.paused


def _ready(cache: NodeCache | None) -> frozenset[str]:
    return frozenset(status.model for status in (cache.status.models if cache else ()) if status.state == "Ready")
