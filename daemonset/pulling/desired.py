"""What the node should hold, as plain values, whoever says it: its NodeCache or a configuration file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from api import keys
from api.resources import NodeCacheSpec
from daemonset.config import StandaloneModel

_KEY = re.compile(r"([0-9a-f]{32})@(.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """One model at one revision."""

    model: str
    """Hash of namespace/name (api.keys.model_key)."""
    revision: str = ""
    """What to hold; empty in a stand-alone agent, which takes what ``source`` resolves to at the first pull."""
    source: str = ""
    """The reference as configured, in a stand-alone agent; in a cluster the broker tells it with the grant."""
    absent: bool = False
    """Give it up. Only this removes anything."""
    priority: int = 0
    pinned: bool = False
    """Never evicted."""
    groups: tuple[str, ...] = ()
    """Groups whose plan holds this node for the model; while there is one, it is not evicted."""

    @property
    def key(self) -> str:
        """Names the model's record in the store, so that a restart finds what it holds without asking anybody."""
        return f"{self.model}@{self.revision or self.source}"


def from_key(key: str) -> Desired | None:
    """What a record in the store stands for; None for records that others keep there."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    model, version = match.groups()
    return Desired(model=model, source=version) if "://" in version else Desired(model=model, revision=version)


def from_node_cache(spec: NodeCacheSpec) -> tuple[Desired, ...]:
    return tuple(
        Desired(
            model=m.model,
            revision=m.revision,
            absent=m.desired == "Absent",
            priority=m.priority,
            pinned=m.pinned,
            groups=tuple(m.groups),
        )
        for m in spec.models
    )


def from_config(models: tuple[StandaloneModel, ...]) -> tuple[Desired, ...]:
    # Whoever lists a model in the file wants it there whatever else needs room.
    return tuple(Desired(model=keys.model_key(m.namespace, m.base_name), source=m.source, pinned=True) for m in models)
