"""The mount calls that Python does not have: openat2, open_tree, mount_setattr, move_mount, umount2.

Called by number through syscall(2): glibc 2.35 and musl have no wrappers. Since Linux 5.1 new calls have the same
number on every architecture but Alpha. Each function raises OSError with the errno of its call. ctypes lets go of
the interpreter lock meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import os

_OPEN_TREE = 428
_MOVE_MOUNT = 429
_OPENAT2 = 437
_MOUNT_SETATTR = 442

# linux/openat2.h
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
# linux/mount.h, linux/fcntl.h
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 0x1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSUID = 0x2
_MOUNT_ATTR_NODEV = 0x4
_MS_PRIVATE = 1 << 18
_UMOUNT_NOFOLLOW = 0x8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def open_folder(parent: int, path: str, *, same_mount: bool = False) -> int:
    """Open a folder strictly below ``parent``, meeting no symbolic link (and, on request, no other mount) on the way.

    The descriptor names the folder only (O_PATH). A link fails with ELOOP, leaving ``parent`` or ``same_mount``
    with EXDEV.
    """
    how = _OpenHow(
        flags=os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
        resolve=_RESOLVE_BENEATH
        | _RESOLVE_NO_SYMLINKS
        | _RESOLVE_NO_MAGICLINKS
        | (_RESOLVE_NO_XDEV if same_mount else 0),
    )
    size = ctypes.c_size_t(ctypes.sizeof(how))
    return _syscall(_OPENAT2, ctypes.c_int(parent), os.fsencode(path), ctypes.byref(how), size)


def clone_mount(folder: int) -> int:
    """A detached bind mount of an open folder, without what is mounted below it. Nobody can see it yet."""
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH)
    return _syscall(_OPEN_TREE, ctypes.c_int(folder), b"", flags)


def guard_mount(mount: int) -> None:
    """Make a detached mount read-only, nosuid, nodev and private, in one step.

    Private, so that nothing that is mounted in the cache later shows up in pods; attached below a shared mount, it
    becomes shared with that one's peers.
    """
    attributes = _MountAttr(
        attr_set=_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, propagation=_MS_PRIVATE
    )
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    flags = ctypes.c_uint(_AT_EMPTY_PATH)
    _syscall(_MOUNT_SETATTR, ctypes.c_int(mount), b"", flags, ctypes.byref(attributes), size)


def attach_mount(mount: int, target: int) -> None:
    """Put a detached mount on an open folder: the moment in which it can be seen."""
    flags = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH)
    _syscall(_MOVE_MOUNT, ctypes.c_int(mount), b"", ctypes.c_int(target), b"", flags)


def unmount_child(folder: int, name: str) -> None:
    """Unmount ``name`` in an open folder; EINVAL where nothing is mounted, EBUSY where somebody works in it."""
    # umount2 knows no descriptors; through /proc/self/fd no component above ``name`` is looked up again.
    path = os.fsencode(f"/proc/self/fd/{folder}/{name}")
    if _libc.umount2(path, ctypes.c_int(_UMOUNT_NOFOLLOW)) != 0:
        raise _last_error()


def kernel_has_mount_calls() -> bool:
    """Whether mount_setattr, the newest of them, exists (Linux 5.12)."""
    try:
        _syscall(_MOUNT_SETATTR, ctypes.c_int(-1), b"", ctypes.c_uint(0), None, ctypes.c_size_t(0))
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def _syscall(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise _last_error()
    return result


def _last_error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
