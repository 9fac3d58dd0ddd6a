"""Records: what was pulled under which name, and when a tree was last used. Unreadable ones count as absent."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from api.digest import Digest
from api.errors import InvalidArtifact
from cache.store.files import remove_durably, replace_durably, replace_soon
from cache.store.layout import Layout


@dataclass(frozen=True, slots=True)
class PullRecord:
    """``key`` is the caller's name of the model: a hash in a cluster, the reference on a laptop."""

    key: str
    revision: str
    tree: Digest
    source: str


class _PullFile(msgspec.Struct, frozen=True):
    key: str
    revision: str
    tree: str
    source: str


class Use(msgspec.Struct, frozen=True):
    """When a tree was last used (Unix time, seconds), and the group whose member used it, where one did."""

    used_at: float
    group: str = ""


def write_pull(layout: Layout, record: PullRecord) -> None:
    """Raises OSError."""
    stored = _PullFile(key=record.key, revision=record.revision, tree=str(record.tree), source=record.source)
    replace_durably(layout.pull(record.key), msgspec.json.encode(stored), scratch=layout.scratch)


def read_pulls(layout: Layout) -> list[PullRecord]:
    """Every pull record, sorted by key. Raises OSError."""
    found: list[PullRecord] = []
    for path in layout.pulls.iterdir():
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_PullFile)
            found.append(PullRecord(stored.key, stored.revision, Digest.parse(stored.tree), stored.source))
        except (msgspec.MsgspecError, InvalidArtifact, FileNotFoundError):
            continue
    return sorted(found, key=lambda record: record.key)


def remove_pull(layout: Layout, key: str) -> bool:
    """False where there was none. Raises OSError."""
    return remove_durably(layout.pull(key))


def write_use(layout: Layout, tree: Digest, *, group: str) -> None:
    """Say that the tree is used now. Raises OSError."""
    if not group and (before := read_use(layout, tree)) is not None:
        group = before.group
    use = Use(used_at=time.time(), group=group)
    replace_soon(layout.use(tree), msgspec.json.encode(use), scratch=layout.scratch)


def read_use(layout: Layout, tree: Digest) -> Use | None:
    """None when nobody said so."""
    try:
        return msgspec.json.decode(layout.use(tree).read_bytes(), type=Use)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
