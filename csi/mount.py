"""Shows a tree of the cache at a target, and takes it away again.

Binding is atomic: the mount is made detached, guarded, and then attached in one call, so a target is either bare or
shows the whole tree read-only, at whatever moment the driver dies. Source and target are opened below two fixed
directories and never through a symbolic link; what follows those directories are values that were checked (Digest,
Target). Nothing here deletes anything but the empty target folder.

These functions block; they must not run in the event loop's thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import NoReturn

from api.digest import Digest
from api.errors import (
    CacheVolumeLost,
    DiskError,
    InvalidRequest,
    MountFailed,
    MountLimit,
    TargetBusy,
    WarmsetError,
)
from csi import syscalls
from csi.targets import LEAF, Target

_TARGET_MODE = 0o750  # as kubelet makes the folders around it
_MAX_STACKED = 64  # a target with more mounts than this is not our doing

_ERRORS: dict[int, type[WarmsetError]] = {
    errno.EIO: DiskError,
    errno.ESTALE: DiskError,
    errno.ENODEV: DiskError,
    errno.EROFS: DiskError,
    errno.EBUSY: TargetBusy,
    errno.EXDEV: TargetBusy,  # something was mounted on the target since the mount table was read
    errno.EMFILE: MountLimit,
    errno.ENFILE: MountLimit,
    errno.ENOMEM: MountLimit,
    errno.ENOSPC: MountLimit,  # fs.mount-max
    errno.EDQUOT: MountLimit,
}


def bind(tree: Digest, *, target: Target, cache_root: PurePath, kubelet_dir: PurePath) -> None:
    """Show ``trees/<tree>`` at ``target``, bare or absent so far; it stays so when this raises a WarmsetError."""
    with _folder_of(target, kubelet_dir) as folder:
        if folder is None:
            raise InvalidRequest("the folder of the target path does not exist; kubelet has to make it")
        with _source(tree, cache_root) as source:
            made = _make_leaf(folder)
            try:
                _attach(source, folder)
            except WarmsetError:
                if made:
                    with suppress(OSError):  # at worst an empty folder stays, which the next call takes as it is
                        os.rmdir(LEAF, dir_fd=folder)
                raise


def release(target: Target, *, kubelet_dir: PurePath) -> None:
    """Unmount the target and remove its empty folder; nothing to do is success. Raises a WarmsetError."""
    with _folder_of(target, kubelet_dir) as folder:
        if folder is None:
            return
        _unmount_leaf(folder)
        try:
            os.rmdir(LEAF, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                raise InvalidRequest("the target path is not a folder") from error
            if error.errno == errno.ENOTEMPTY:
                raise MountFailed("the target's folder is not empty; what is in it is not ours to delete") from error
            _fail("rmdir", error)


def _attach(source: int, folder: int) -> None:
    try:
        with (
            _closing(syscalls.open_folder(folder, LEAF, same_mount=True)) as leaf,
            _closing(syscalls.clone_mount(source)) as mount,
        ):
            syscalls.guard_mount(mount)
            syscalls.attach_mount(mount, leaf)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise InvalidRequest("the target path exists and is not a folder") from error
        _fail("mount", error)


def _unmount_leaf(folder: int) -> None:
    for _ in range(_MAX_STACKED):
        try:
            syscalls.unmount_child(folder, LEAF)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return  # not a mount point (any more), or no such folder
            _fail("umount", error)
    raise MountFailed(f"more than {_MAX_STACKED} mounts are stacked on the target")


@contextmanager
def _source(tree: Digest, cache_root: PurePath) -> Iterator[int]:
    try:
        with _closing(os.open(cache_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            source = syscalls.open_folder(root, f"trees/{tree.hex}", same_mount=True)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ESTALE):
            _fail("open the tree", error)
        raise CacheVolumeLost(
            f"the agent has tree {tree}, but it cannot be opened here: {os.strerror(error.errno or 0)}",
            hint="the csi container must mount the agent's cache root at the same path, HostToContainer",
        ) from error
    with _closing(source):
        yield source


@contextmanager
def _folder_of(target: Target, kubelet_dir: PurePath) -> Iterator[int | None]:
    """The folder in which the target lies, None where it does not exist."""
    try:
        with _closing(os.open(kubelet_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            folder = syscalls.open_folder(root, target.folder)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise InvalidRequest("a part of the target path is a symbolic link or not a folder") from error
        _fail("open the target's folder", error)
    with _closing(folder):
        yield folder


def _make_leaf(folder: int) -> bool:
    """Whether it was made now: it may have been left by an earlier call, or by a reboot."""
    try:
        os.mkdir(LEAF, _TARGET_MODE, dir_fd=folder)
    except FileExistsError:
        return False
    except OSError as error:
        _fail("mkdir", error)
    return True


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _fail(operation: str, error: OSError) -> NoReturn:
    code = error.errno or 0
    kind = _ERRORS.get(code, MountFailed)
    raise kind(f"{operation}: {os.strerror(code)} ({errno.errorcode.get(code, code)})") from error
