"""What the operating system's errors mean to the store. The one place where an errno becomes a named failure."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from api.errors import DiskError, InsufficientCache, WarmsetError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_HINTS = {
    errno.EIO: "the disk reports an I/O error; see the kernel log, then replace the disk or move the cache",
    errno.EROFS: "the file system is read-only, often after an error; see the kernel log",
    errno.EACCES: "the cache's folder must belong to the user that runs this",
    errno.EPERM: "the cache's folder must belong to the user that runs this",
    errno.EXDEV: "the whole cache must lie on one file system",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
}


def failure(error: OSError, *, doing: str) -> WarmsetError:
    """The named failure for ``error``, which happened while ``doing`` (a phrase such as "writing blob sha256:…")."""
    text = f"{doing}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in _FULL:
        return InsufficientCache(
            text, hint="free space on the disk of the cache (warmset gc, warmset rm, warmset cool) and try again"
        )
    return DiskError(text, hint=_HINTS.get(error.errno or 0, ""))


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Raise InsufficientCache or DiskError instead of any OSError from the block."""
    try:
        yield
    except OSError as error:
        raise failure(error, doing=doing) from error
