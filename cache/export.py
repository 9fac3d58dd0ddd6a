"""A tree as a folder of the user's own: hard links to the store's read-only files, or copies on another filesystem."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from api.errors import DiskError, InsufficientCache, InvalidRequest
from api.tree import Tree
from cache.store.layout import Layout

if TYPE_CHECKING:
    from cache.store.store import Store


def export_tree(store: Store, tree: Tree, folder: Path) -> bool:
    """Make ``folder`` hold exactly the tree; it appears at once, by a rename. Returns False where it did already.

    Raises InvalidRequest for a folder that holds something else, InsufficientCache or DiskError for what the disk says.
    """
    import tempfile  # whoever finds the tree linked does without

    if is_linked(store.layout, tree, folder):
        return False
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise InvalidRequest(f"{folder} is not an empty folder", hint="name a new one, or remove it first")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside its final place, so that the rename stays within one filesystem.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            made = Path(scratch, "tree")
            made.mkdir()
            for file in tree.files:
                target = made / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                _place(store.blob_path(file.digest), target)
            made.rename(folder)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (InsufficientCache if full else DiskError)(
            f"cannot make {folder}: {error.strerror}", hint="name another folder; the model itself is in the store"
        ) from error
    return True


def _place(blob: Path, target: Path) -> None:
    try:
        target.hardlink_to(blob)
    except OSError as error:
        # Another filesystem, too many links to one file, or a filesystem or policy without hard links.
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP):
            raise
        import shutil

        shutil.copyfile(blob, target)
        target.chmod(0o444)


def is_linked(layout: Layout, tree: Tree, folder: Path) -> bool:
    """Whether every file of ``folder`` is the store's own, under the right name, and none is missing."""
    wanted = {file.path: file.digest for file in tree.files}
    seen = 0
    for parent, _, names in os.walk(folder):
        below = os.path.relpath(parent, folder)
        for name in names:
            digest = wanted.get(name if below == "." else f"{below}/{name}")
            if digest is None or not _same(f"{parent}/{name}", layout.blob_name(digest)):
                return False
            seen += 1
    return seen == len(wanted)


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except FileNotFoundError:
        return False
