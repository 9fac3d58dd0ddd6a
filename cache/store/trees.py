"""Trees: read-only folders of hard links to blobs, published whole by one rename.

The folder is the truth. Its listing, kept beside it under the tree's digest, only saves hashing: it names itself by its
sha256, and a lost one is rebuilt from which blob each file is a link of. A tree is *intact* when every file is the very
inode of its blob; a blob that was dropped because its bytes rotted thereby makes every tree that links it not intact.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from api.digest import Digest
from api.errors import InUse, InvalidArtifact, NotFound, WarmsetError
from api.tree import Tree, TreeFile
from cache.store.blobs import blobs, has_blob
from cache.store.draft import Draft
from cache.store.files import fsync_folder, remove_durably, remove_folder, replace_durably, scratch_name
from cache.store.hashing import sha256_of
from cache.store.layout import Layout


def publish(layout: Layout, tree: Tree, *, draft: Draft | None = None) -> Path:
    """Build the tree beside its final name, make it durable, rename it. The tree must not be there.

    Raises NotFound when a blob is missing (nothing is left behind), else OSError.
    """
    target, new = layout.tree(tree.digest), layout.new_tree(tree.digest)
    remove_folder(new)
    try:
        if draft is None or not draft.fits(tree):
            draft = Draft(layout)
        if draft.files:
            draft.folder.rename(new)
        _build(layout, tree, new, draft=draft)
        replace_durably(layout.listing(tree.digest), tree.listing.encode(), scratch=layout.scratch)
        new.rename(target)  # the point of no return: from here on the tree exists for everybody
    except (OSError, NotFound):
        remove_folder(new)
        raise
    fsync_folder(layout.trees)
    return target


def mend(layout: Layout, tree: Tree) -> None:
    """Give each file of a published tree the inode of its blob again, where it has another: one rename a file.

    For a tree that is mounted. Whoever has a file open or mapped keeps the inode it opened; the next to open it gets
    the verified bytes. A kill in between leaves some files mended, and folders that ``settle`` closes again.
    Raises NotFound when a blob is missing, InUse when the tree lacks more than files, else OSError.
    """
    for digest, size in tree.blobs.items():
        if not has_blob(layout, digest, size=size):
            raise _missing(digest, tree)
    root = layout.tree(tree.digest)
    wrong = [file for file in tree.files if not _is_blob(layout, root, file)]
    folders = {(root / file.path).parent for file in wrong}
    if not all(folder.is_dir() for folder in folders):
        raise InUse(f"tree {tree.digest} is mounted and has lost a folder", hint="delete the pods that use it")
    replace_durably(layout.mending / tree.digest.hex, b"", scratch=layout.scratch)
    for folder in folders:
        folder.chmod(0o755)  # open to its owner; pods see it through a read-only mount
    for file in wrong:
        link = scratch_name(layout.scratch)
        link.hardlink_to(layout.blob(file.digest))
        link.rename(root / file.path)
    settle(layout, tree.digest)


def settle(layout: Layout, digest: Digest) -> None:
    """Close the folders that ``mend`` opened, or was about to. Raises OSError."""
    for folder, _, _ in os.walk(layout.tree(digest)):
        path = Path(folder)
        if stat.S_IMODE(path.lstat().st_mode) != 0o555:
            fsync_folder(path)
            path.chmod(0o555)
    remove_durably(layout.mending / digest.hex)


def _missing(blob: Digest, tree: Tree) -> NotFound:
    return NotFound(f"blob {blob} of tree {tree.digest} is not in the cache", hint="pull the model again")


def _build(layout: Layout, tree: Tree, new: Path, *, draft: Draft) -> None:
    """Make in ``new`` what the draft has not brought there."""
    folders = ["", *tree.folders]
    for folder in folders:
        if folder not in draft.folders:
            (new / folder).mkdir(mode=0o700)
    for file in tree.files:
        if file.path in draft.files:
            continue
        try:
            os.link(layout.blob_name(file.digest), f"{new}/{file.path}")
        except FileNotFoundError as error:
            raise _missing(file.digest, tree) from error
    for folder in folders:
        (new / folder).chmod(0o555)
    for folder in folders:  # after all changes: a journal that has them all has nothing left to do for the second
        fsync_folder(new / folder)


def read(layout: Layout, digest: Digest) -> Tree | None:
    """The tree when it is published and intact, else None. Raises OSError."""
    tree = described(layout, digest)
    return tree if tree is not None and _intact(layout, tree) else None


def described(layout: Layout, digest: Digest) -> Tree | None:
    """What a published tree should hold, damaged or not; None when it is absent or nothing tells. Raises OSError."""
    if not layout.tree(digest).is_dir():
        return None
    return _listed(layout, digest) or _rebuilt(layout, digest)


def _listed(layout: Layout, digest: Digest) -> Tree | None:
    try:
        tree = Tree.parse(layout.listing(digest).read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, InvalidArtifact):
        return None
    return tree if tree.digest == digest else None


def _rebuilt(layout: Layout, digest: Digest) -> Tree | None:
    of_inode = {status.st_ino: blob for blob, status in blobs(layout)}
    root = layout.tree(digest)
    files: list[TreeFile] = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            status = path.lstat()
            if status.st_ino not in of_inode:
                return None
            files.append(TreeFile(str(path.relative_to(root)), status.st_size, of_inode[status.st_ino]))
    try:
        tree = Tree.of(files)
    except WarmsetError:
        return None
    if tree.digest != digest:
        return None
    replace_durably(layout.listing(digest), tree.listing.encode(), scratch=layout.scratch)
    return tree


def _intact(layout: Layout, tree: Tree) -> bool:
    root = layout.tree(tree.digest)
    return all(_is_blob(layout, root, file) for file in tree.files)


def _is_blob(layout: Layout, root: Path, file: TreeFile) -> bool:
    try:
        link, blob = os.lstat(f"{root}/{file.path}"), os.lstat(layout.blob_name(file.digest))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(link.st_mode) and link.st_size == file.size and os.path.samestat(link, blob)


def published(layout: Layout) -> list[Digest]:
    """Every tree that has a folder. Raises OSError."""
    found: list[Digest] = []
    for path in sorted(layout.trees.iterdir()):
        try:
            found.append(Digest(path.name))
        except InvalidArtifact:
            continue  # being built or removed, or not ours
    return found


def unpublish(layout: Layout, digest: Digest) -> Path:
    """Take the tree's name away, durably; returns the folder to delete. Raises OSError."""
    trash = layout.trash_tree(digest)
    layout.tree(digest).rename(trash)  # the point of no return: the tree is gone for everybody
    fsync_folder(layout.trees)  # before any blob goes, lest a power loss bring back a tree without its blobs
    return trash


def wrong_files(layout: Layout, tree: Tree, *, on_bytes: Callable[[int], None] | None) -> list[TreeFile]:
    """Files of a published tree whose bytes are not what they should be, unreadable and missing ones included.

    Reads every distinct blob once; ``on_bytes`` gets the bytes read since its last call.
    """
    root = layout.tree(tree.digest)
    seen: dict[int, Digest | None] = {}
    wrong: list[TreeFile] = []
    for file in tree.files:
        path = root / file.path
        try:
            inode = path.lstat().st_ino
        except (FileNotFoundError, NotADirectoryError):
            wrong.append(file)
            continue
        if inode not in seen:
            seen[inode] = sha256_of(path, on_bytes=on_bytes)
        if seen[inode] != file.digest:
            wrong.append(file)
    return wrong
