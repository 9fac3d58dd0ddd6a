"""Small files on their way to be blobs: written, synced together, then named.

Three syncs a file would cost more than its bytes. Order of a commit: all files written, syncfs, each named (for itself
the point of no return), syncfs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from api.digest import Digest
from api.errors import DigestMismatch, InsufficientCache, InvalidRequest
from cache.store.blobs import has_blob, link_blob, name_blob
from cache.store.capacity import Amount
from cache.store.draft import Draft
from cache.store.files import open_folder, scratch_name, syncfs, umask, write_all
from cache.store.layout import Layout

SMALL_BYTES = 1 << 20  # files up to this size are worth gathering
# After so many bytes what was written is committed: what a kill can cost.
COMMIT_BYTES = 1 << 30
# For so much room is asked at once.
ROOM_BYTES, ROOM_FILES = 24 << 20, 6144


class _Written(NamedTuple):
    """A file that waits for its name: where it lies now, its size, and its path where that is in the draft."""

    name: str
    size: int
    path: str


class SmallFiles:
    """Used by one thread, as a context manager: what was written is committed at its end, or deleted where that is an
    exception. Every method raises OSError for what the disk refuses."""

    def __init__(self, layout: Layout, *, draft: Draft | None, require: Callable[[Amount], None]) -> None:
        """``require`` raises InsufficientCache where the disk cannot take so much more."""
        self._layout = layout
        self._require = require
        self._prefix = scratch_name(layout.scratch)
        self._draft = draft
        self._written: dict[Digest, _Written] = {}
        self._bytes = 0
        self._room_bytes = self._room_files = 0
        self._masked = bool(umask() & 0o444)
        self._ahead: threading.Thread | None = None
        self._disk = open_folder(layout.scratch)  # vouches for what is written from now on

    def add(self, data: bytes | memoryview, *, path: str) -> Digest:
        """Take in a file that nobody has reserved room for, at its path in the draft where that is free; returns its
        digest. Raises InsufficientCache."""
        digest = Digest(hashlib.sha256(data).hexdigest())
        if self._room_bytes < len(data) or not self._room_files:
            self._make_room(len(data))
        self._room_bytes -= len(data)
        self._room_files -= 1
        self.put(digest, data, path=path)
        if self._bytes >= COMMIT_BYTES:
            self.commit()
        return digest

    def put(self, digest: Digest, data: bytes | memoryview, *, path: str = "") -> None:
        """Take in a file under the sha256 that the caller has computed of it. What is a blob already stays."""
        if digest in self._written or has_blob(self._layout, digest, size=len(data)):
            return
        name = self._draft.place(path, digest) if self._draft and path else None
        if name is None:
            name, path = f"{self._prefix}.{len(self._written)}", ""
        self._written[digest] = _Written(name, len(data), path)
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            write_all(fd, data)
            if self._masked:
                os.fchmod(fd, 0o444)
        finally:
            os.close(fd)
        self._bytes += len(data)

    def commit(self) -> None:
        """Make blobs of what was written. After an error each file is committed or absent on its own."""
        if not self._written:
            return
        syncfs(self._disk)
        for digest, written in self._written.items():
            give_name = link_blob if written.path else name_blob
            if not give_name(self._layout, written.name, digest=digest, size=written.size):
                os.unlink(written.name)  # noqa: PTH108 - another pull was first
                if self._draft and written.path:
                    self._draft.forget(written.path)
        syncfs(self._disk)  # not each folder: a batch reaches most of the 256, and each fsync flushes the disk
        self._written.clear()
        self._bytes = 0

    def _make_room(self, size: int) -> None:
        """For many files at once, since to ask takes as long as to write one; on an almost full disk, for one."""
        try:
            self._room_bytes, self._room_files = ROOM_BYTES, ROOM_FILES
            self._require(Amount(ROOM_BYTES, ROOM_FILES))
        except InsufficientCache:
            self._room_bytes, self._room_files = size, 1
            self._require(Amount(size, 1))
        self._sync_ahead()

    def _sync_ahead(self) -> None:
        """Let the disk begin with what was written, so that the commit has little left to wait for."""
        if self._written and (self._ahead is None or not self._ahead.is_alive()):
            thread = threading.Thread(target=_sync, args=(self._layout.scratch,), name="sync-ahead")
            with contextlib.suppress(RuntimeError):  # no more threads to be had
                thread.start()
                self._ahead = thread

    def __enter__(self) -> SmallFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            if self._ahead is not None:
                self._ahead.join()
            os.close(self._disk)
            with contextlib.suppress(OSError):  # what stays goes at the next start
                for written in self._written.values():
                    Path(written.name).unlink(missing_ok=True)


def verified(items: Sequence[tuple[Digest, bytes]]) -> dict[Digest, bytes]:
    """Small files whose sha256 is what it should be. Raises DigestMismatch, or InvalidRequest for a large one."""
    for digest, data in items:
        if len(data) > SMALL_BYTES:
            raise InvalidRequest(f"{digest} has {len(data)} bytes; a batch takes files of up to {SMALL_BYTES}")
        actual = hashlib.sha256(data).hexdigest()
        if actual != digest.hex:
            raise DigestMismatch(f"expected {digest}, got sha256:{actual}")
    return dict(items)


def _sync(folder: Path) -> None:
    """On a descriptor of its own, so that whoever commits is told of what fails here."""
    with contextlib.suppress(OSError):
        disk = open_folder(folder)
        try:
            syncfs(disk)
        finally:
            os.close(disk)
