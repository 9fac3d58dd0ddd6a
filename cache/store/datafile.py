"""A preallocated file that several threads fill at offsets, past the page cache where the file system allows it."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Literal

IO = Literal["auto", "direct", "buffered"]
# O_DIRECT wants offset, length and address in multiples of the logical block size: 512 or 4096 on all disks we know.
ALIGNMENT = 4096
_SYNC_FILE_RANGE_WRITE = 2  # sync_file_range(2): begin to write dirty pages out, wait for nothing
_NO_PREALLOCATION = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_libc = ctypes.CDLL(None)


class DataFile:
    """``write`` and ``read`` may be called from several threads; ``close`` only when they are done.

    Every method raises OSError.
    """

    def __init__(self, buffered: int, *, direct: int | None) -> None:
        self._buffered = buffered
        self._direct = direct

    @classmethod
    def open(cls, path: Path, *, size: int, io: IO) -> DataFile:
        """Open or create, ``size`` bytes long, with its blocks allocated where the file system can.

        ``io``: ``auto`` writes directly where that works; ``direct`` raises where the file system has no O_DIRECT.
        """
        if path.exists():
            path.chmod(0o600)  # read-only when an earlier commit was cut short
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        buffered = os.open(path, flags, 0o600)
        try:
            allocate(buffered, size)
            return cls(buffered, direct=_open_direct(path, io=io))
        except OSError:
            os.close(buffered)
            raise

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of ``data``: whole aligned blocks directly, an odd tail or unaligned buffer through the cache."""
        done = self._write_direct(offset, data)
        while done < len(data):
            done += os.pwrite(self._buffered, data[done:], offset + done)

    def read(self, offset: int, into: memoryview) -> int:
        """Fill ``into`` from ``offset``; returns the bytes read, fewer only at the end of the file."""
        done = 0
        while done < len(into):
            count = os.preadv(self._buffered, [into[done:]], offset + done)
            if not count:
                break
            done += count
        return done

    def use_cache(self) -> None:
        """Write through the page cache from now on: for bytes that are read again soon. Before any ``write``."""
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None

    def write_back(self, offset: int, length: int) -> None:
        """Let the kernel begin to write these bytes out, so that the sync at the end has little left to do. A hint."""
        _libc.sync_file_range(
            self._buffered, ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE)
        )

    def truncate(self, size: int) -> None:
        os.ftruncate(self._buffered, size)

    def seal(self) -> None:
        """Make the file read-only and durable, with its length and mode."""
        os.fchmod(self._buffered, 0o444)
        os.fsync(self._buffered)

    def sync(self) -> None:
        os.fdatasync(self._buffered)

    def close(self) -> None:
        os.close(self._buffered)
        if self._direct is not None:
            os.close(self._direct)

    def _write_direct(self, offset: int, data: memoryview) -> int:
        if self._direct is None or offset % ALIGNMENT:
            return 0
        whole = len(data) - len(data) % ALIGNMENT
        done = 0
        while done < whole and done % ALIGNMENT == 0:
            try:
                done += os.pwrite(self._direct, data[done:whole], offset + done)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                break  # the buffer's address is not aligned, or the disk's blocks are larger
        return done


def allocate(fd: int, size: int) -> None:
    """Make a file ``size`` bytes long and, where the file system can, allocate its blocks. Raises OSError."""
    os.ftruncate(fd, size)  # a longer leftover is cut, a file system without preallocation gets a sparse file
    if not size:
        return
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in _NO_PREALLOCATION:
            raise


def _open_direct(path: Path, *, io: IO) -> int | None:
    if io == "buffered":
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if io == "direct" or error.errno != errno.EINVAL:
            raise
        return None  # a file system without O_DIRECT, such as an older tmpfs
