"""What every workload API answers about a pod: which group it belongs to, and how large that group is."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_ORDINAL = re.compile(r"-(\d+)$")


@dataclass(frozen=True, slots=True)
class Owner:
    """One step of a pod's controller chain. ``deadline_s``: how long it waits for its pods, where known."""

    api_version: str
    kind: str
    name: str
    uid: str
    deadline_s: int | None = None


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One pod's place in the group that starts and fails together.

    ``key`` names the group and survives its recreation; ``revision`` and ``incarnation`` tell one life of it from
    the next. ``size`` is the declared number of pods: never the number that happens to exist, because several
    APIs create the others only after the first was scheduled. ``topology_key`` is a node label that the group
    itself asked to stay within.
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
