"""What every workload API answers about a pod: which group it belongs to, and how large that group is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.groups.owner import Owner

_ORDINAL = re.compile(r"-(\d+)$")


@dataclass(frozen=True, slots=True)
class Subject:
    """A pod to be placed in its group, and what is known of the objects above it.

    ``owners`` is the pod's controller chain, nearest first; it may be empty, at admission. ``gang`` is the PodGroup
    that the pod names, of whatever scheduler, where it could be read.
    """

    pod: Mapping[str, Any]
    namespace: str
    owners: tuple[Owner, ...] = ()
    gang: Owner | None = None

    @property
    def labels(self) -> Mapping[str, str]:
        return self.pod["metadata"].get("labels") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.pod["metadata"].get("annotations") or {}

    @property
    def name(self) -> str:
        return str(self.pod["metadata"].get("name", ""))

    @property
    def uid(self) -> str:
        return str(self.pod["metadata"].get("uid", ""))

    def owner(self, kind: str, *, group: str) -> Owner | None:
        """The nearest owner of that kind."""
        return next((owner for owner in self.owners if owner.is_a(kind, group=group)), None)

    def controller(self, kind: str, *, group: str) -> Owner | None:
        """The pod's direct owner, if it is of that kind."""
        return self.owners[0] if self.owners and self.owners[0].is_a(kind, group=group) else None


@dataclass(frozen=True, slots=True)
class Part:
    """Pods of a group that are made alike: ``count`` of them, as ``template`` (a PodTemplateSpec) has them."""

    role: str
    count: int
    template: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One pod's place in the group that starts and fails together.

    ``key`` names the group and survives its recreation; ``revision`` and ``incarnation`` tell one life of it from
    the next. ``size`` is the declared number of pods: never the number that happens to exist, because several
    APIs create the others only after the first was scheduled. ``parts`` says how the declared pods look, where they
    differ and their owner tells; ``role`` is the part that this pod is one of.

    ``topology_key`` is a node label that the group itself asked to stay within. An ``exclusive`` group shares its
    domain with no other of its system, within ``exclusive_namespace`` where that is given. Groups with the same
    ``whole`` are parts of it, planned apart and let go together; where such a whole, or one between, asked to stay
    within a domain of a label, ``within`` names it and the label, nearest first. ``kind`` says which of its workload's
    kinds of group it is, where that makes several.
    """

    system: str
    namespace: str
    key: str
    name: str
    size: int
    index: int | None = None
    leader: bool = False
    revision: str = ""
    incarnation: str = ""
    topology_key: str = ""
    exclusive: bool = False
    exclusive_namespace: str = ""
    role: str = ""
    parts: tuple[Part, ...] = ()
    whole: str = ""
    within: tuple[tuple[str, str], ...] = ()
    kind: str = ""

    @property
    def id(self) -> str:
        """How NodeCaches name the group: 16 hex digits, because whoever may read one may read all."""
        parts = (self.system, self.namespace, self.key, self.revision, self.incarnation)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def ordinal(name: str) -> int | None:
    """The trailing ordinal of a StatefulSet pod's name, such as 2 of ``vllm-0-2``."""
    found = _ORDINAL.search(name)
    return int(found.group(1)) if found else None


def whole_number(text: str | None, *, least: int) -> int | None:
    """``text`` as an integer of at least ``least``, or None: a label is whatever somebody wrote."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 6:
        return None
    value = int(text)
    return value if value >= least else None
