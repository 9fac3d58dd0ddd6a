"""Ownership of a store's root: one process, one identity, noticed when either is gone.

The lock is flock(2) on ``.lock``, held for life and dropped by the kernel however the process ends. ``.cache-id``
says which cache this is: when a disk is unmounted under us, or another is mounted over it, the identity at that path
changes, and writing on would fill the file system underneath.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from api.errors import CacheVolumeLost, InvalidRequest, StoreLocked, UnknownFormat
from cache.store import mounts
from cache.store.failures import disk_errors, failure
from cache.store.files import fsync_folder, write_all
from cache.store.identity import FORMAT, IDENTITY, Identity, read_identity
from cache.store.owner import LOCK, owner_of

_UNFINISHED = f"{IDENTITY}.new"
# What a root may hold before it is a cache: a start that was cut short, or a fresh ext4 file system.
_BEFORE_FIRST_USE = frozenset({LOCK, _UNFINISHED, "lost+found"})
_POLL_S = 0.05
# Several machines may see one such file system at once. A root is one machine's: what another has in its page cache, or
# has locked, does not bind this one, and syncfs(2) vouches for nothing behind a server.
_SHARED = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs"})
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN})


class Root:
    """An opened root. Thread-safe: nothing changes between ``open`` and ``close``."""

    def __init__(self, path: Path, *, identity: Identity, lock: int) -> None:
        self.path = path
        self.cache_id = identity.id
        self._identity = identity
        self._lock = lock

    @classmethod
    def open(cls, path: Path, *, wait_s: float) -> Root:
        """Own ``path``, made with mode 0700 where it is not there; waits at most ``wait_s`` seconds for the lock.

        Raises StoreLocked, UnknownFormat, DiskError, or InvalidRequest for a path that cannot be a cache's root.
        """
        with disk_errors(f"opening the cache at {path}"):
            if path.is_symlink():
                raise InvalidRequest(f"{path} is a symbolic link", hint=f"give the real path: {path.resolve()}")
            _refuse_shared(path.resolve(), mountinfo=mounts.MOUNTINFO.read_text())
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = {entry.name for entry in path.iterdir()}
            if IDENTITY not in names and names - _BEFORE_FIRST_USE:
                raise InvalidRequest(f"{path} holds files and is no cache", hint="give an empty folder or a new one")
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _take(lock, path, wait_s=wait_s)
                return cls(path, identity=_identity(path), lock=lock)
            except BaseException:
                os.close(lock)
                raise

    def check(self) -> None:
        """Raise CacheVolumeLost unless the path still leads to the root that was opened, DiskError where that cannot
        be told."""
        try:
            same = read_identity(self.path) == self._identity and os.path.samestat(
                os.fstat(self._lock), (self.path / LOCK).stat()
            )
        except ValueError:
            same = False
        except OSError as error:
            if error.errno not in _GONE:  # no descriptors, no memory: says nothing about the disk
                raise failure(error, doing=f"looking at {self.path}") from error
            same = False
        if not same:
            raise CacheVolumeLost(
                f"the cache at {self.path} is not the one that was opened",
                hint="its disk was unmounted or its files were removed; mount it again and restart",
            )

    def close(self) -> None:
        # Closing alone would leave the lock to a child that another thread is just forking.
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        os.close(self._lock)

    def __enter__(self) -> Root:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def is_root(path: Path) -> bool:
    """Whether a cache was ever made there."""
    return (path / IDENTITY).is_file()


def _refuse_shared(path: Path, *, mountinfo: str) -> None:
    mount = mounts.around(path, mounts.parse(mountinfo))
    if mount is not None and mount.kind in _SHARED:
        raise InvalidRequest(
            f"{path} lies on {mount.kind}, which is not this machine's own disk", hint="give a folder on a local disk"
        )


def _take(lock: int, path: Path, *, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise StoreLocked(
                    f"{owner_of(path) or 'another process'} owns the cache at {path}",
                    hint="wait until it has ended, stop it, or use another folder",
                ) from error
            time.sleep(_POLL_S)
        else:
            return


def _identity(path: Path) -> Identity:
    try:
        identity = read_identity(path)
    except FileNotFoundError:
        return _create_identity(path)
    except ValueError as error:
        raise InvalidRequest(f"{path / IDENTITY} cannot be read", hint="is this really a cache?") from error
    if identity.format != FORMAT:
        age = "a newer" if identity.format > FORMAT else "an older"
        raise UnknownFormat(
            f"the cache at {path} has format {identity.format} of {age} version, this one knows {FORMAT}",
            hint="nothing in it was touched: go back to the version that made it, or give this one another folder",
        )
    return identity


def _create_identity(path: Path) -> Identity:
    identity = Identity(id=os.urandom(16).hex(), format=FORMAT)
    fd = os.open(path / _UNFINISHED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, identity.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    (path / _UNFINISHED).rename(path / IDENTITY)
    fsync_folder(path)
    return identity
