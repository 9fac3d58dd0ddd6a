"""Files that lie elsewhere on the machine become blobs.

By default the cache gets an inode of its own: a reflink where the file system shares extents (FICLONE: no bytes are
copied, and later writes to either file do not show in the other), else a copy. A hard link is the same inode under
another name: whoever may write the original could change what pods read as verified. It is made only on request, of a
file that nobody has open for writing, and makes that file read-only under every name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from api.digest import Digest
from api.errors import DiskError, InUse, InvalidRequest
from cache.store.blobs import install
from cache.store.capacity import Amount
from cache.store.failures import disk_errors
from cache.store.files import scratch_name, write_all
from cache.store.hashing import sha256_of
from cache.store.store import Store

FICLONE = 0x40049409  # linux/fs.h
_NO_CLONE = frozenset({errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EPERM, errno.ETXTBSY})
_COPY_BYTES = 4 << 20


def adopt(store: Store, path: Path, *, expected: Digest | None = None, hard_link: bool = False) -> Digest:
    """Make a blob of the file's bytes; returns their digest. With another one ``expected``, nothing is kept.

    The bytes are hashed after they are the cache's, so a file that changes meanwhile cannot give a wrong blob.
    Raises InvalidRequest for what is no regular file, InUse for a hard link of a file that somebody writes, NotFound,
    InsufficientCache or DiskError.
    """
    store.check()
    target = scratch_name(store.layout.scratch)
    with disk_errors(f"importing {path}"):
        try:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise InvalidRequest(f"{path} is a symbolic link", hint="import the folder that it leads to") from error
            if error.errno == errno.EACCES:
                raise InvalidRequest(f"{path} may not be read", hint="let the user that runs this read it") from error
            raise
        try:
            if not stat.S_ISREG(os.fstat(source).st_mode):
                raise InvalidRequest(f"{path} is no regular file")
            if hard_link:
                _link(path, source, target)
            else:
                _clone_or_copy(store, source, target)
            found = sha256_of(target)
            if found is None:
                raise DiskError(f"{path} cannot be read", hint="see the kernel log")
            if expected is None or found == expected:
                install(store.layout, target, digest=found, size=target.lstat().st_size)
            return found
        finally:
            os.close(source)
            target.unlink(missing_ok=True)


def _clone_or_copy(store: Store, source: int, target: Path) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.ioctl(fd, FICLONE, source)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            store.require_room(Amount(os.fstat(source).st_size, 1))
            while piece := os.read(source, _COPY_BYTES):
                write_all(fd, piece)
        os.fchmod(fd, 0o444)
        os.fsync(fd)
    finally:
        os.close(fd)


def _link(path: Path, source: int, target: Path) -> None:
    try:
        # A read lease is refused while anybody has the file open for writing (fcntl(2)).
        fcntl.fcntl(source, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise InUse(f"{path} is open for writing", hint="wait, or import a copy (without --hard-link)") from error
        raise
    os.link(path, target, follow_symlinks=False)
    if not os.path.samestat(target.lstat(), os.fstat(source)):
        raise InUse(f"{path} was replaced just now", hint="try again")
    os.fchmod(source, 0o444)
    os.fsync(source)
