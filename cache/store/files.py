"""Durable small steps on files and folders, for Linux. Each raises OSError; callers name the failure."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable: a rename or link survives a power loss only after this."""
    fd = open_folder(path)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def syncfs(fd: int) -> None:
    """Write back everything of the file system that ``fd`` is on (syncfs(2)).

    Reports write-back errors since the last call on the same descriptor (Linux 5.8 and newer), so the descriptor
    must have been opened before what it is to vouch for was written, and be nobody else's, who would be told instead.
    """
    import ctypes  # a warm pull does without it

    if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def umask() -> int:
    """Of this process; read, since umask(2) would set it for all threads, if only for a moment. All bits where the
    kernel does not tell it (Linux 4.7 and newer do)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next((line.split()[1] for line in lines if line.startswith("Umask:")), "777"), 8)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of ``data`` at the descriptor's position."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def scratch_name(folder: Path) -> Path:
    """A fresh name in the scratch folder, which is emptied at every start."""
    return folder / os.urandom(12).hex()


def replace_soon(path: Path, data: bytes, *, scratch: Path) -> None:
    """Write a small file, mode 0600, without waiting for the disk: another process sees the old bytes or the new ones,
    and a power loss may leave either, or none."""
    temporary = scratch_name(scratch)
    temporary.touch(mode=0o600)
    temporary.write_bytes(data)
    temporary.rename(path)


def replace_durably(path: Path, data: bytes, *, scratch: Path) -> None:
    """Write a small file so that after any crash ``path`` holds the old bytes or the new ones, mode 0600."""
    temporary = scratch_name(scratch)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    except OSError:
        temporary.unlink()
        raise
    finally:
        os.close(fd)
    temporary.rename(path)
    fsync_folder(path.parent)


def remove_durably(path: Path) -> bool:
    """Unlink a file; False where there was none."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    fsync_folder(path.parent)
    return True


def remove_folder(path: Path) -> None:
    """Delete a folder of ours with all in it; nothing happens where there is none.

    Never follows a symbolic link and never enters another file system, so a mount point below it makes this fail
    instead of emptying what is mounted.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    _remove_folder(str(path), device=status.st_dev)


def _remove_folder(path: str, *, device: int) -> None:
    # Text instead of paths, and no look at a file beyond its name: a tree may hold a hundred thousand.
    os.chmod(path, 0o700)  # noqa: PTH101 - a tree's folders are 0555, which stops an owner who is not root
    with os.scandir(path) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)  # noqa: PTH108
        elif entry.stat(follow_symlinks=False).st_dev == device:
            _remove_folder(entry.path, device=device)
    os.rmdir(path)  # noqa: PTH106 - fails with ENOTEMPTY or EBUSY where a mount point was left alone


def regular_files(path: Path) -> Iterator[os.stat_result]:
    """The status of every regular file below ``path``, files that vanish meanwhile left out."""
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                status = os.lstat(f"{folder}/{name}")  # a Path for each of 100,000 files takes longer than the disk
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield status
