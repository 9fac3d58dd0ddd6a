"""Which models pods mount by a claim, as KServe's ``pvc://`` has it: through static PersistentVolumes of our driver.

The volumes are watched and no claims: one that is Bound names its claim in ``spec.claimRef``, and kubelet mounts no
other for that claim (kubernetes pkg/kubelet/volumemanager/populator, getPVSpec). Whether the claim's namespace may have
the model is not asked here: models/permitted.py does, as for every other volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controller.objects.pods import MountedModel, Mounting, Pod, claims, mounted_model, node
from kube.reflector import Key

Volume = dict[str, Any]


def keep_volume(volume: Volume) -> bool:
    return shown(volume) is not None


def trim_volume(volume: Volume) -> Volume:
    meta, spec = volume["metadata"], volume["spec"]
    return {
        "metadata": {name: meta[name] for name in ("name", "resourceVersion")},
        "spec": {name: spec[name] for name in ("csi", "claimRef")},
        "status": volume["status"],
    }


def shown(volume: Volume) -> tuple[Key, MountedModel] | None:
    """The volume's claim and what it shows; None where it is not bound, or not of our driver."""
    spec = volume["spec"]
    model = mounted_model(spec.get("csi") or {})
    if model is None or (volume.get("status") or {}).get("phase") != "Bound":
        return None
    return (spec["claimRef"]["namespace"], spec["claimRef"]["name"]), model


class Claims:
    def __init__(self) -> None:
        self._models: dict[Key, MountedModel] = {}  # by claim
        self._pods: dict[str, dict[Key, Pod]] = {}  # those with claims, whoever's, by node

    def mounting_on(self, node_name: str) -> Iterator[Mounting]:
        """The node's pods that mount models by claims."""
        for key in sorted(self._pods.get(node_name, ())):
            pod = self._pods[node_name][key]
            if found := self._models_of(pod):
                yield Mounting(pod, found)

    def nodes_with(self, model: str) -> frozenset[str]:
        """Where pods mount the model (``namespace/name``) by claims."""
        return self._nodes_of({claim for claim, mounted in self._models.items() if mounted.model == model})

    # -- what the reflectors call ---------------------------------------------------------------------------

    def on_volume(self, old: Volume | None, new: Volume | None) -> frozenset[str]:
        """Returns the nodes where pods mount its claim."""
        concerned = set()
        for volume in (old, new):
            if volume is not None and (found := shown(volume)) is not None:
                concerned.add(found[0])
                if volume is new:
                    self._models[found[0]] = found[1]
                else:
                    self._models.pop(found[0], None)
        return self._nodes_of(concerned)

    def on_pod(self, key: Key, old: Pod | None, new: Pod | None) -> frozenset[str]:
        """Returns the nodes where it mounts models, or did."""
        concerned = set()
        for pod in (old, new):
            if pod is not None and node(pod) and claims(pod):
                if pod is new:
                    self._pods.setdefault(node(pod), {})[key] = pod
                else:
                    self._pods.get(node(pod), {}).pop(key, None)
                if self._models_of(pod):
                    concerned.add(node(pod))
        return frozenset(concerned)

    def _models_of(self, pod: Pod) -> tuple[MountedModel, ...]:
        namespace = pod["metadata"]["namespace"]
        found = (self._models.get((namespace, name)) for name in claims(pod))
        return tuple(dict.fromkeys(model for model in found if model is not None))

    def _nodes_of(self, wanted: set[Key]) -> frozenset[str]:
        if not wanted:
            return frozenset()
        return frozenset(
            name
            for name, pods in self._pods.items()
            if any((key[0], claim) in wanted for key, pod in pods.items() for claim in claims(pod))
        )
