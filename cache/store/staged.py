"""A sequential writer for bytes whose digest is known only at their end, such as the members of an archive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import TracebackType

from api.digest import Digest
from api.errors import DiskError
from cache.aligned import aligned_buffer
from cache.store.blobs import install
from cache.store.datafile import IO, DataFile
from cache.store.failures import disk_errors
from cache.store.files import scratch_name
from cache.store.layout import Layout

_WRITE_BYTES = 4 << 20


class Staged:
    """Used by one thread. Whatever is not committed is deleted, at the latest when the store is next opened."""

    def __init__(self, layout: Layout, *, size: int, io: IO, check_root: Callable[[], None]) -> None:
        """``size`` bytes are allocated where the file system can. Raises InsufficientCache, DiskError."""
        self._layout = layout
        self._check_root = check_root
        self._path = scratch_name(layout.scratch)
        self._hash = hashlib.sha256()
        self._gathered = aligned_buffer(_WRITE_BYTES)  # what comes lies at any address, which direct I/O does not take
        self._written = self._held = 0
        self._data: DataFile | None = None
        with disk_errors("staging a file"):
            try:
                self._data = DataFile.open(self._path, size=size, io=io)
            except OSError:
                self._path.unlink(missing_ok=True)
                raise

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._written + self._held

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises InsufficientCache, DiskError."""
        file = self._open()
        self._hash.update(data)
        rest = memoryview(data)
        while rest:
            count = min(len(rest), _WRITE_BYTES - self._held)
            self._gathered[self._held : self._held + count] = rest[:count]
            self._held += count
            rest = rest[count:]
            if self._held == _WRITE_BYTES:
                with disk_errors("staging a file"):
                    self._flush(file)

    def commit(self) -> Digest:
        """Make it a blob; returns its digest. Raises CacheVolumeLost, InsufficientCache, DiskError: then it is gone."""
        data = self._open()
        digest = Digest(self._hash.hexdigest())
        try:
            self._check_root()
            with disk_errors(f"committing {digest}"):
                self._flush(data)
                data.truncate(self._written)  # to what was written of what was allocated
                data.seal()
                install(self._layout, self._path, digest=digest, size=self._written)
        finally:
            self.discard()
        return digest

    def _open(self) -> DataFile:
        if self._data is None:
            raise DiskError("the staged file is closed")
        return self._data

    def _flush(self, data: DataFile) -> None:
        data.write(self._written, self._gathered[: self._held])
        self._written += self._held
        self._held = 0

    def discard(self) -> None:
        """Close, and delete what was not committed."""
        if self._data is not None:
            self._data.close()
            self._data = None
            with disk_errors("discarding a staged file"):
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()
