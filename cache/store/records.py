"""Records: what was pulled under which name, and when a tree was last used. Unreadable ones count as absent."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from api.digest import Digest
from api.errors import InvalidArtifact
from cache.store.files import remove_durably, replace_durably, replace_soon
from cache.store.layout import Layout

# json and not msgspec, which takes longer to import than all else that finding a present tree needs.


@dataclass(frozen=True, slots=True)
class PullRecord:
    """``key`` is the caller's name of the model: a hash in a cluster, the reference on a laptop."""

    key: str
    revision: str
    tree: Digest
    source: str


@dataclass(frozen=True, slots=True)
class Use:
    """When a tree was last used (Unix time, seconds), and the group whose member used it, where one did."""

    used_at: float
    group: str = ""


def write_pull(layout: Layout, record: PullRecord) -> None:
    """Raises OSError."""
    stored = {"key": record.key, "revision": record.revision, "tree": str(record.tree), "source": record.source}
    replace_durably(layout.pull(record.key), json.dumps(stored).encode(), scratch=layout.scratch)


def read_pull(layout: Layout, key: str) -> PullRecord | None:
    """What was pulled under ``key``. Raises OSError."""
    try:
        return _pull(layout.pull(key).read_bytes())
    except FileNotFoundError:
        return None


def read_pulls(layout: Layout) -> list[PullRecord]:
    """Every pull record, sorted by key. Raises OSError."""
    found: list[PullRecord] = []
    for path in layout.pulls.iterdir():
        try:
            record = _pull(path.read_bytes())
        except FileNotFoundError:
            continue
        if record is not None:
            found.append(record)
    return sorted(found, key=lambda record: record.key)


def _pull(raw: bytes) -> PullRecord | None:
    match _decode(raw):
        case {"key": str(key), "revision": str(revision), "tree": str(tree), "source": str(source)}:
            try:
                return PullRecord(key, revision, Digest.parse(tree), source)
            except InvalidArtifact:
                return None
    return None


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def remove_pull(layout: Layout, key: str) -> bool:
    """False where there was none. Raises OSError."""
    return remove_durably(layout.pull(key))


def write_use(layout: Layout, tree: Digest, *, group: str) -> None:
    """Say that the tree is used now. Raises OSError."""
    if not group and (before := read_use(layout, tree)) is not None:
        group = before.group
    use = Use(used_at=time.time(), group=group)
    replace_soon(layout.use(tree), json.dumps(asdict(use)).encode(), scratch=layout.scratch)


def read_use(layout: Layout, tree: Digest) -> Use | None:
    """None when nobody said so."""
    try:
        raw = layout.use(tree).read_bytes()
    except FileNotFoundError:
        return None
    match _decode(raw):
        case {"used_at": int(used_at) | float(used_at), "group": str(group)}:
            return Use(float(used_at), group)
    return None
