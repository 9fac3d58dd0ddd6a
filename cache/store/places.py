"""What the store remembers of each place (a repository, a bucket's prefix) that bytes came from.

    records/places/<sha256 of the place>    lines of text, appended:
        <hex>            this blob came through the place, every byte of it hashed
        <key> <hex>      the file that the place names by this key has this sha256

The first kind tells whose bytes a present blob is: another place that merely names its digest proves nothing. The
second kind fixes, at the first verified ingest, what the source itself does not publish.

Whatever cannot be read as such a line counts for nothing, and every append begins a new line, so a torn one costs only
itself: its bytes are then fetched once more.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from api.digest import Digest
from api.errors import InvalidArtifact
from cache.store.failures import disk_errors
from cache.store.files import fsync_folder, write_all


@dataclass(frozen=True, slots=True)
class Known:
    """``proven`` blobs came through the place; ``hashes`` are those of files, by key."""

    proven: frozenset[Digest]
    hashes: Mapping[Digest, Digest]


@dataclass(frozen=True, slots=True)
class Place:
    """One place's record below a store's root. ``note`` may be called from several threads."""

    root: Path
    name: str
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def _path(self) -> Path:
        return self.root / "records" / "places" / hashlib.sha256(self.name.encode()).hexdigest()

    def known(self) -> Known:
        """Raises DiskError."""
        with disk_errors(f"reading what is known of {self.name}"):
            try:
                raw = self._path.read_bytes()
            except FileNotFoundError:
                raw = b""
        proven: set[Digest] = set()
        hashes: dict[Digest, Digest] = {}
        for line in raw.decode("ascii", errors="replace").split("\n"):
            key, space, value = line.partition(" ")
            try:
                if space:
                    hashes.setdefault(Digest(key), Digest(value))  # what came first stays
                elif key:
                    proven.add(Digest(key))
            except InvalidArtifact:
                continue
        return Known(frozenset(proven), hashes)

    def note(self, *, proven: Iterable[Digest] = (), hashes: Mapping[Digest, Digest] | None = None) -> None:
        """Remember; hashes durably before this returns. Raises DiskError or InsufficientCache."""
        lines = [digest.hex for digest in proven]
        lines += [f"{key.hex} {value.hex}" for key, value in (hashes or {}).items()]
        if not lines:
            return
        with self._lock, disk_errors(f"noting what is known of {self.name}"):
            new = not self._path.exists()
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, ("\n" + "\n".join(lines) + "\n").encode())
                if hashes:
                    os.fsync(fd)
            finally:
                os.close(fd)
            if new and hashes:
                fsync_folder(self._path.parent)
                fsync_folder(self._path.parent.parent)
