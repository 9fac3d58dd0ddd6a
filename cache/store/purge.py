"""Clean removal of a cache from its disk: all that the layout names, nothing else, and only while nothing uses it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from api.errors import InUse, NotFound
from cache.store import mounts, pins
from cache.store.failures import disk_errors
from cache.store.files import regular_files, remove_folder
from cache.store.layout import Layout
from cache.store.pause import PAUSED
from cache.store.root import is_root
from cache.store.store import Store

_HEX = re.compile(r"[0-9a-f]{64}")
_TREE = re.compile(r"(\.new-)?[0-9a-f]{64}|\.trash-[0-9a-f]{64}-[0-9a-f]+")
_QUARANTINED = re.compile(r"[0-9a-f]{64}\.\d+")
_GRANT = re.compile(r"[0-9a-f]{64}\.json")  # what an agent remembers of who may use which model
_LOGIN = re.compile(r"[0-9a-f]{64}|key")  # and of logins that opened a model
_ANY = re.compile(r".*")
_LAST = (PAUSED, ".cache-id.new", ".cache-id", ".lock")


@dataclass(frozen=True, slots=True)
class Purged:
    """``kept`` are names below the root that are not the cache's, and so were left; empty when the root is gone."""

    bytes: int
    kept: tuple[str, ...]


def purge(root: Path, *, dry_run: bool = False) -> Purged:
    """Remove the cache at ``root``. A kill in between leaves a cache that can be purged again.

    Raises NotFound where there is none, StoreLocked while a process owns it, InUse while a publication is pinned or a
    mount of it is left on this machine, DiskError.
    """
    if not is_root(root):
        raise NotFound(f"there is no cache at {root}", hint="name its folder with --root")
    with Store.open(root) as store, disk_errors(f"removing the cache at {root}"):
        layout = store.layout
        _refuse_used(layout)
        size = sum({status.st_ino: 512 * status.st_blocks for status in regular_files(root)}.values())
        if not dry_run:
            _remove_layout(layout)
    if dry_run:
        return Purged(size, kept=())
    with disk_errors(f"removing the cache at {root}"):
        kept = tuple(sorted(path.name for path in root.iterdir() if path.name not in _LAST))
        for name in _LAST:  # the identity last: what is left until then is still a cache
            (root / name).unlink(missing_ok=True)
        if not kept:
            root.rmdir()
    return Purged(size, kept)


def mounts_of(root: Path, *, mountinfo: str) -> list[str]:
    """Mount points that show something of the cache, or hide something of it. ``mountinfo``: proc(5)."""
    entries = mounts.parse(mountinfo)
    own = mounts.around(root, entries)
    found = [str(entry.point) for entry in entries if entry.point != root and entry.point.is_relative_to(root)]
    if own is not None:
        trees = own.shows / root.relative_to(own.point) / "trees"
        found += [str(e.point) for e in entries if e.device == own.device and e.shows.is_relative_to(trees)]
    return found


def _refuse_used(layout: Layout) -> None:
    table = pins.read_all(layout)
    held = len(table.pins) + len(table.unreadable)
    if held:
        raise InUse(f"{held} publications pin models of {layout.root}", hint="delete the pods that use them first")
    if found := mounts_of(layout.root.resolve(), mountinfo=mounts.MOUNTINFO.read_text()):
        raise InUse(f"{len(found)} mounts use {layout.root}, such as {found[0]}", hint="unmount them first")


def _remove_layout(layout: Layout) -> None:
    """Records, trees, blobs: the way back from how they came."""
    parts: list[tuple[Path, re.Pattern[str], Callable[[Path], None]]] = [
        (layout.pulls, _HEX, Path.unlink),
        (layout.uses, _HEX, Path.unlink),
        (layout.mending, _HEX, Path.unlink),
        (layout.root / "records" / "places", _HEX, Path.unlink),
        (layout.root / "grants", _GRANT, Path.unlink),
        (layout.root / "logins", _LOGIN, Path.unlink),
        (layout.trees, _TREE, remove_folder),
        (layout.listings, _HEX, Path.unlink),
        (layout.ingests, _HEX, remove_folder),
        *((layout.blobs / f"{n:02x}", _HEX, Path.unlink) for n in range(256)),
        (layout.quarantine, _QUARANTINED, Path.unlink),
        (layout.scratch, _ANY, Path.unlink),
        (layout.pins, _HEX, Path.unlink),
    ]
    for folder, ours, remove in parts:
        for path in _entries(folder):
            if ours.fullmatch(path.name):
                remove(path)
    remove_folder(layout.root / "open")  # an agent's links to trees
    layout.scrub.unlink(missing_ok=True)
    for folder, _, _ in parts:
        _remove_empty(folder)
    for folder in (layout.blobs, layout.blobs.parent, layout.root / "records"):
        _remove_empty(folder)


def _entries(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from [Path(entry.path) for entry in os.scandir(folder)]


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
