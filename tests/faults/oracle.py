"""The oracle: what must hold of a store's root after any fault. Written against the layout, not with the store's code.

O1  every file under blobs/ hashes to its name and is read-only
O2  every tree is exactly the tree that its name is the digest of, read-only, no links but to blobs
O3  what was promised, and not given up since, is there
O5  the disk holds no temporary file and no half tree; ``usage`` is the sum over inodes
O6  the store opens again, without a manual step and in bounded time
(O4, mounts, and O7, secrets, do not concern the store. O8, that the fault really happened, is for the caller.)
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from api.digest import Digest
from api.tree import Tree, TreeFile
from cache.store import Store

RESTART_S = 30.0  # a start takes 10 ms; on a busy machine a second


class Broken(AssertionError):
    """A promise that does not hold; the message begins with its number."""


def check_after_crash(root: Path, *, promises: Path) -> None:
    """Check a root whose owner is dead, as it lies there and once more after a restart."""
    if (root / ".cache-id").exists():
        check_visible(root)
        check_promises(root, promises)
    began = time.monotonic()
    try:
        store = Store.open(root)
    except Exception as error:
        raise Broken(f"O6: the store does not open: {error!r}") from error
    with store:
        if time.monotonic() - began > RESTART_S:
            raise Broken(f"O6: opening took {time.monotonic() - began:.1f} s")
        check_visible(root)
        check_promises(root, promises)
        check_disk(store)


def check_visible(root: Path) -> None:
    """O1 and O2."""
    for path in _files(root / "blobs"):
        if _sha256(path) != path.name or stat.S_IMODE(path.lstat().st_mode) != 0o444:
            raise Broken(f"O1: blob {path.name} has {path.lstat().st_size} bytes of another digest, or may be written")
    for folder in (root / "trees").glob("[!.]*"):
        inner = [folder, *(Path(parent, name) for parent, names, _ in os.walk(folder) for name in names)]
        being_mended = (root / "records" / "mending" / folder.name).exists()
        if not being_mended and any(stat.S_IMODE(path.lstat().st_mode) != 0o555 for path in inner):
            raise Broken(f"O2: a folder of tree {folder.name} may be written")
        files = [
            TreeFile(str(path.relative_to(folder)), path.lstat().st_size, Digest(_sha256(path)))
            for path in _files(folder)
        ]
        if not files or Tree.of(files).digest.hex != folder.name:
            raise Broken(f"O2: tree {folder.name} holds {len(files)} files that make another tree")


def check_promises(root: Path, promises: Path) -> None:
    """O3. Lines: ``blob <hex>``, ``tree <hex>``, ``pin <id>``, ``record <key>``; ``gone <line>`` gives one up."""
    lines = promises.read_text().splitlines() if promises.exists() else []
    given_up = {line.removeprefix("gone ") for line in lines if line.startswith("gone ")}
    for line in lines:
        kind, _, name = line.partition(" ")
        if kind == "gone" or line in given_up:
            continue
        where = {
            "blob": root / "blobs" / "sha256" / name[:2] / name,
            "tree": root / "trees" / name,
            "pin": root / "pins" / name,
            "record": root / "records" / "pulls" / hashlib.sha256(name.encode()).hexdigest(),
        }[kind]
        if not where.exists() or (where.is_file() and not where.stat().st_size):
            raise Broken(f"O3: {line} was promised")


def check_disk(store: Store) -> None:
    """O5, of a store that is open and idle."""
    root = store.root
    stray = [*_files(root / "scratch"), *(root / "trees").glob(".*")]
    stray += [path for path in (root / "ingest").iterdir() if not (path / "data").exists()]
    if stray:
        raise Broken(f"O5: left behind: {stray}")
    inodes = {path.lstat().st_ino: path.lstat().st_blocks * 512 for path in _files(root)}
    if store.usage().used != sum(inodes.values()):
        raise Broken(f"O5: usage says {store.usage().used}, the inodes make {sum(inodes.values())}")


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not stat.S_ISREG(path.lstat().st_mode):
                raise Broken(f"O2: {path} is no regular file")
            yield path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
