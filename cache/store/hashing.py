"""What a stored file's bytes hash to, read from the disk and not from the page cache."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from api.digest import Digest
from cache.aligned import aligned_buffer

_READ_BYTES = 4 << 20
# The medium or the file system has lost these bytes. Any other error (no memory, no descriptors) says nothing of them.
LOST = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA, errno.EREMOTEIO, errno.EILSEQ})


def sha256_of(path: Path, *, on_bytes: Callable[[int], None] | None = None) -> Digest | None:
    """None when the disk has lost some of the file. ``on_bytes`` gets the bytes read since its last call.

    Raises OSError for what says nothing about the bytes, FileNotFoundError included.
    """
    sha256 = hashlib.sha256()
    try:
        for piece in pieces(path):
            sha256.update(piece)
            if on_bytes is not None:
                on_bytes(len(piece))
    except OSError as error:
        if error.errno not in LOST:
            raise
        return None
    return Digest(sha256.hexdigest())


def pieces(path: Path) -> Iterator[memoryview]:
    """The file's bytes in one reused buffer, past the page cache where that works: what counts is on the disk, and a
    file that is read once would fill fresh pages, which costs more than its reading. Raises OSError."""
    buffer = aligned_buffer(_READ_BYTES)
    fd = _open_past_cache(path)
    try:
        rest = os.fstat(fd).st_size
        # Ends at the size and not at an empty read: a direct read must not start at an odd end.
        while rest > 0 and (count := os.readv(fd, [buffer])):
            rest -= count
            yield buffer[:count]
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
