"""What the controller knows of the cluster: parsed copies of the watched objects, and indexes over them.

Changed only from the event loop, by the reflectors. Every decision reads it within one step of the loop, without
an await in between, and so sees one moment. A copy that cannot be parsed is kept as it was: an object that
somebody wrote past the schema must not stop the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

import msgspec
import structlog

from api import keys
from api.fields import Wire
from api.resources import Model, NodeCache, WarmSet
from controller.cluster.claims import Claims
from controller.cluster.flavors import NodeLabels
from controller.cluster.journal import Journal
from controller.cluster.seat_index import SeatIndex
from controller.kueue.workload import AdmissionCheck, Workload, admission_check, parse
from controller.objects import nodes
from controller.objects.nodes import NodeView
from controller.objects.pods import Mounting, Pod, claims, is_going, is_ours, is_terminal, models, node
from controller.objects.quantities import Resources, add, pod_requests, subtract
from controller.warm_sets.group_placement import placed_groups
from kube.reflector import Key

log = structlog.get_logger()

W = TypeVar("W", bound=Wire)

REQUESTS = "warmsetRequests"  # stands in a trimmed pod for its containers; never written back


class World:
    def __init__(self) -> None:
        self.journal = Journal()  # nodes that a plan would now see otherwise
        self.nodes: dict[str, NodeView] = {}
        self.caches: dict[str, NodeCache] = {}
        self.seats = SeatIndex()
        self.models: dict[str, Model] = {}  # by namespace/name
        self.models_by_hash: dict[str, Model] = {}
        self.warm_sets: dict[Key, WarmSet] = {}
        self.placed: dict[str, Key] = {}  # the WarmSet of each group that is asked for ahead of pods, by the group's id
        self.workloads: dict[Key, Workload] = {}  # Kueue's
        self.admission_checks: dict[str, AdmissionCheck] = {}  # those of Kueue's that are ours to answer
        self.flavors: tuple[NodeLabels, ...] = ()  # of nodes that Kueue places on by topology
        self.pods: dict[Key, Pod] = {}  # ours: with our gate, label or volume
        self.claims = Claims()  # through which pods, also those that are not ours, mount models
        self._used: dict[str, Resources] = {}  # by node: requests of all its pods that still run
        self._leaving: dict[str, Resources] = {}  # the part of it whose pods are being deleted
        self._ours_on: dict[str, set[Key]] = {}
        self._ours_with: dict[str, set[Key]] = {}  # by the models that they mount
        self._free: dict[str, Resources] = {}  # worked out when asked for; every plan asks for every node

    def used(self, node_name: str) -> Resources:
        return self._used.get(node_name, {})

    def leaving(self, node_name: str) -> Resources:
        """What pods that are being deleted will give back."""
        return self._leaving.get(node_name, {})

    def free(self, view: NodeView) -> Resources:
        """What the node can still take beside the pods that run on it."""
        known = self._free.get(view.name)
        if known is None:
            used = self.used(view.name)
            known = self._free[view.name] = subtract(view.allocatable, used) if used else view.allocatable
        return known

    def pods_on(self, node_name: str) -> Iterable[Pod]:
        """Ours that are bound to the node and not ended."""
        return (self.pods[key] for key in sorted(self._ours_on.get(node_name, ())))

    def pods_with(self, model: str) -> Iterable[Pod]:
        """Ours with a volume of the model (``namespace/name``)."""
        return (self.pods[key] for key in sorted(self._ours_with.get(model, ())))

    def mounting_on(self, node_name: str) -> Iterator[Mounting]:
        """What pods that are bound to the node and not ended mount, by volumes of their own or by claims."""
        for pod in self.pods_on(node_name):
            yield Mounting(pod, models(pod))
        yield from self.claims.mounting_on(node_name)

    def mounting(self) -> Iterator[Mounting]:
        """The same of every node."""
        return chain.from_iterable(map(self.mounting_on, self.nodes))

    # -- what the reflectors call ---------------------------------------------------------------------------

    def on_node(self, key: Key, new: dict[str, Any] | None) -> bool:
        """Whether anything has changed that a plan depends on; heartbeats change nothing."""
        before, after = self.nodes.get(key[1]), None if new is None else nodes.view(new)
        if after == before:
            return False
        self._free.pop(key[1], None)
        self.journal.note(key[1:])
        if after is None:
            del self.nodes[key[1]]
        else:
            self.nodes[key[1]] = after
        return True

    def on_cache(self, key: Key, new: dict[str, Any] | None) -> None:
        before = self.caches.get(key[1])
        _keep(self.caches, key[1], new, NodeCache)
        self.seats.replace(key[1], before=before, after=self.caches.get(key[1]))
        self.journal.note(key[1:])

    def on_model(self, key: Key, new: dict[str, Any] | None) -> None:
        _keep(self.models, f"{key[0]}/{key[1]}", new, Model)
        hashed = keys.model_key(*key)
        if new is None:
            self.models_by_hash.pop(hashed, None)
        elif (model := self.models.get(f"{key[0]}/{key[1]}")) is not None:
            self.models_by_hash[hashed] = model

    def on_warm_set(self, key: Key, new: dict[str, Any] | None) -> None:
        for group in placed_groups(self.warm_sets.get(key)):
            self.placed.pop(group, None)
        _keep(self.warm_sets, key, new, WarmSet)
        self.placed |= dict.fromkeys(placed_groups(self.warm_sets.get(key)), key)

    def on_workload(self, key: Key, new: dict[str, Any] | None) -> None:
        self.workloads.pop(key, None)
        if new is not None:
            try:
                self.workloads[key] = parse(new)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                log.error("object.unreadable", kind="Workload", key=str(key), error=repr(error))

    def on_check(self, key: Key, new: dict[str, Any] | None) -> None:
        self.admission_checks.pop(key[1], None)
        if new is not None and (check := admission_check(new)) is not None:
            self.admission_checks[key[1]] = check

    def on_pod(self, key: Key, old: Pod | None, new: Pod | None) -> frozenset[str]:
        """``old`` is the copy before: its requests are taken off the node it was on.

        Returns the nodes where it mounts models by claims, or did.
        """
        for pod, combine in ((old, subtract), (new, _plus)):
            if pod is not None and node(pod):
                self._used[node(pod)] = combine(self.used(node(pod)), _requests(pod))
                self._free.pop(node(pod), None)
                self.journal.note((node(pod),))
                if is_going(pod):
                    left = combine(self.leaving(node(pod)), _requests(pod))
                    self._leaving[node(pod)] = {name: amount for name, amount in left.items() if amount}
        known = self.pods.pop(key, None)
        if known is not None:
            for index, name in self._indexed(known):
                index[name].discard(key)
        if new is not None and is_ours(new):
            self.pods[key] = new
            for index, name in self._indexed(new):
                index.setdefault(name, set()).add(key)
        return self.claims.on_pod(key, old, new)

    def _indexed(self, pod: Pod) -> Iterator[tuple[dict[str, set[Key]], str]]:
        """Under which names a pod of ours stands in which index."""
        if node(pod):
            yield self._ours_on, node(pod)
        for name in {mount.model for mount in models(pod)}:
            yield self._ours_with, name


def keep_pod(pod: Pod) -> bool:
    """Ours, and every other one that takes room on a node."""
    return not is_terminal(pod) and (bool(node(pod)) or is_ours(pod))


def trim_pod(pod: Pod) -> Pod:
    """A foreign pod is reduced to what it takes of its node, and its claims; ours only lose what nothing here reads."""
    meta, spec = pod["metadata"], pod["spec"]
    if is_ours(pod):
        kept = {name: value for name, value in meta.items() if name != "managedFields"}
        return {**pod, "metadata": kept}
    names = ["namespace", "name", "uid", "resourceVersion", "deletionTimestamp"]
    kept_spec: dict[str, Any] = {"nodeName": spec["nodeName"]}
    if claims(pod):
        names.append("creationTimestamp")
        kept_spec["volumes"] = [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    return {
        "metadata": {name: meta[name] for name in names if name in meta},
        "spec": kept_spec,
        REQUESTS: pod_requests(spec),
    }


def _requests(pod: Pod) -> Resources:
    known: Mapping[str, int] | None = pod.get(REQUESTS)
    return pod_requests(pod["spec"]) if known is None else known


def _plus(amount: Resources, part: Resources) -> dict[str, int]:
    return add((amount, part))


def _keep(items: dict[Any, W], key: Any, new: dict[str, Any] | None, kind: type[W]) -> None:
    if new is None:
        items.pop(key, None)
        return
    try:
        items[key] = msgspec.convert(new, type=kind)
    except msgspec.ValidationError as error:
        log.error("object.unreadable", kind=kind.__name__, key=str(key), error=str(error))
