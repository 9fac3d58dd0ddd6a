"""A sequential writer for bytes whose digest is known only at their end, such as the members of an archive."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from types import TracebackType

from api.digest import Digest
from api.errors import DiskError
from cache.store.blobs import install
from cache.store.datafile import allocate
from cache.store.failures import disk_errors
from cache.store.files import scratch_name, write_all
from cache.store.layout import Layout


class Staged:
    """Used by one thread. Whatever is not committed is deleted, at the latest when the store is next opened."""

    def __init__(self, layout: Layout, *, size: int, check_root: Callable[[], None]) -> None:
        """``size`` bytes are allocated where the file system can. Raises InsufficientCache, DiskError."""
        self._layout = layout
        self._check_root = check_root
        self._path = scratch_name(layout.scratch)
        self._hash = hashlib.sha256()
        self._size = 0
        with disk_errors("staging a file"):
            self._fd: int | None = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                allocate(self._fd, size)
            except OSError:
                self.discard()
                raise

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises InsufficientCache, DiskError."""
        if self._fd is None:
            raise DiskError("the staged file is closed")
        with disk_errors("staging a file"):
            write_all(self._fd, data)
        self._hash.update(data)
        self._size += len(data)

    def commit(self) -> Digest:
        """Make it a blob; returns its digest. Raises CacheVolumeLost, InsufficientCache, DiskError: then it is gone."""
        if self._fd is None:
            raise DiskError("the staged file is closed")
        digest = Digest(self._hash.hexdigest())
        try:
            self._check_root()
            with disk_errors(f"committing {digest}"):
                os.ftruncate(self._fd, self._size)  # to what was written of what was allocated
                os.fchmod(self._fd, 0o444)
                os.fsync(self._fd)
                install(self._layout, self._path, digest=digest, size=self._size)
        finally:
            self.discard()
        return digest

    def discard(self) -> None:
        """Close, and delete what was not committed."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            with disk_errors("discarding a staged file"):
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()
