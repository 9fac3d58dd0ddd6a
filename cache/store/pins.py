"""Pins: one fsynced file a publication, written before the mount and removed after the unmount."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from api.digest import Digest
from api.errors import InUse, InvalidArtifact, InvalidRequest
from cache.store.files import remove_durably, replace_durably
from cache.store.layout import Layout

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pin:
    """A publication that holds a tree; ``note`` is the caller's own."""

    id: str
    tree: Digest
    note: Mapping[str, str] = field(default_factory=dict)


class _PinFile(msgspec.Struct, frozen=True):
    tree: str
    note: dict[str, str]


@dataclass(frozen=True, slots=True)
class PinTable:
    """All pins. ``unreadable`` ones hold a tree that nobody can name, so nothing may be removed meanwhile."""

    pins: dict[str, Pin]
    unreadable: tuple[Path, ...]


def write(layout: Layout, pin: Pin) -> None:
    """Raises OSError; InvalidRequest for an id that is no file name of ours."""
    data = msgspec.json.encode(_PinFile(tree=str(pin.tree), note=dict(pin.note)))
    replace_durably(_path(layout, pin.id), data, scratch=layout.scratch)


def remove(layout: Layout, id: str) -> bool:  # noqa: A002 - the API's word
    """False where there was none. Raises OSError, InvalidRequest."""
    return remove_durably(_path(layout, id))


def read_all(layout: Layout) -> PinTable:
    """Raises OSError."""
    pins: dict[str, Pin] = {}
    unreadable: list[Path] = []
    for path in sorted(layout.pins.iterdir()):
        pin = _read(path)
        if pin is None:
            unreadable.append(path)
        else:
            pins[pin.id] = pin
    return PinTable(pins=pins, unreadable=tuple(unreadable))


def read(layout: Layout, id: str) -> Pin | None:  # noqa: A002
    """One pin, without a look at the others; None where none can be read. Raises OSError, InvalidRequest."""
    path = _path(layout, id)
    try:
        return _read(path)
    except FileNotFoundError:
        return None


def refuse_pinned(layout: Layout, tree: Digest) -> None:
    """Raises InUse where a publication holds the tree, or may."""
    table = read_all(layout)
    if table.unreadable:
        raise InUse(
            f"pin {table.unreadable[0].name} cannot be read, so any tree may be in use",
            hint="unpublish that volume, or remove the file after checking that nothing is mounted",
        )
    holders = [pin.id for pin in table.pins.values() if pin.tree == tree]
    if holders:
        many = "a publication" if len(holders) == 1 else f"{len(holders)} publications"
        raise InUse(f"tree {tree} is mounted by {many}", hint="delete the pods that use it")


def _read(path: Path) -> Pin | None:
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_PinFile)
        return Pin(path.name, Digest.parse(stored.tree), stored.note)
    except (msgspec.MsgspecError, InvalidArtifact):
        return None


def _path(layout: Layout, id: str) -> Path:  # noqa: A002
    if not _ID.fullmatch(id):
        raise InvalidRequest(f"a publication's id is 64 hex digits, got {id[:80]!r}")
    return layout.pins / id
