"""Trees: read-only folders of hard links to blobs, published whole by one rename.

The folder is the truth. Its listing, kept beside it under the tree's digest, only saves hashing: it names itself by its
sha256, and a lost one is rebuilt from which blob each file is a link of. A tree is *intact* when every file is the very
inode of its blob; a blob that was dropped because its bytes rotted thereby makes every tree that links it not intact.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from api.digest import Digest
from api.errors import DiskError, InvalidArtifact, NotFound, WarmsetError
from api.tree import Tree, TreeFile
from cache.store.blobs import blobs, has_blob
from cache.store.failures import disk_errors
from cache.store.files import fsync_folder, remove_folder, replace_durably
from cache.store.layout import Layout

_READ_BYTES = 4 << 20


def publish(layout: Layout, tree: Tree) -> Path:
    """Build the tree beside its final name, make it durable, rename it. The tree must not be there.

    Raises NotFound when a blob is missing (nothing is left behind), else OSError.
    """
    for digest, size in tree.blobs.items():
        if not has_blob(layout, digest, size=size):
            raise NotFound(f"blob {digest} of tree {tree.digest} is not in the cache", hint="pull the model again")
    target, new = layout.tree(tree.digest), layout.new_tree(tree.digest)
    remove_folder(new)
    replace_durably(layout.listing(tree.digest), tree.listing.encode(), scratch=layout.scratch)
    try:
        _build(layout, tree, new)
        new.rename(target)  # the point of no return: from here on the tree exists for everybody
    except OSError:
        remove_folder(new)
        raise
    fsync_folder(layout.trees)
    return target


def _build(layout: Layout, tree: Tree, new: Path) -> None:
    folders = {new}
    new.mkdir(mode=0o700)
    for file in tree.files:
        path = new / file.path
        for folder in _missing_parents(path.parent, known=folders):
            folder.mkdir(mode=0o700)
            folders.add(folder)
        path.hardlink_to(layout.blob(file.digest))
    for folder in folders:
        folder.chmod(0o555)
        fsync_folder(folder)


def _missing_parents(folder: Path, *, known: set[Path]) -> list[Path]:
    missing: list[Path] = []
    while folder not in known:
        missing.append(folder)
        folder = folder.parent
    return missing[::-1]


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
    try:
        for file in tree.files:
            link, blob = (root / file.path).lstat(), layout.blob(file.digest).lstat()
            if not stat.S_ISREG(link.st_mode) or link.st_size != file.size or not os.path.samestat(link, blob):
                return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


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
            seen[inode] = _sha256(path, on_bytes=on_bytes)
        if seen[inode] != file.digest:
            wrong.append(file)
    return wrong


def _sha256(path: Path, *, on_bytes: Callable[[int], None] | None) -> Digest | None:
    """None when the disk cannot read it."""
    sha256 = hashlib.sha256()
    try:
        for piece in _pieces(path):
            sha256.update(piece)
            if on_bytes is not None:
                on_bytes(len(piece))
    except DiskError:
        return None
    return Digest(sha256.hexdigest())


def _pieces(path: Path) -> Iterator[memoryview]:
    """The file's bytes in one reused buffer, past the page cache where that works: what counts is on the disk."""
    with disk_errors(f"reading {path}"), mmap.mmap(-1, _READ_BYTES) as pages, memoryview(pages) as buffer:
        fd = _open_past_cache(path)
        try:
            rest = os.fstat(fd).st_size
            # Ends at the size and not at an empty read: a direct read must not start at an odd end.
            while rest > 0 and (count := os.readv(fd, [buffer])):
                rest -= count
                with buffer[:count] as piece:
                    yield piece
        finally:
            os.close(fd)


def _open_past_cache(path: Path) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags)
