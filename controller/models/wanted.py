"""What is wanted of a Model: one revision of it, or why there is none to want."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from api import keys


@lru_cache(maxsize=4096)  # asked for every node of every plan
def _hash(model: str) -> str:
    namespace, _, name = model.partition("/")
    return keys.model_key(namespace, name)


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """One model at one revision, ``bytes`` large; of none (``revision`` empty) where it cannot be had now. ``model`` is
    ``namespace/name``."""

    model: str
    revision: str
    bytes: int = 0
    tree: str = ""

    @property
    def hash(self) -> str:
        return _hash(self.model)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a group's models cannot be pulled yet: a named reason, and words for a person."""

    reason: str
    message: str
