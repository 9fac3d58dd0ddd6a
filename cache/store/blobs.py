"""Blobs: complete, verified files under their sha256, or nothing."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from api.digest import Digest
from api.errors import DigestMismatch, InvalidArtifact, InvalidRequest
from cache.store.files import fsync_folder, scratch_name, syncfs, write_all
from cache.store.layout import Layout

# Files up to this size commit in batches: three syncs a file would cost more than their bytes.
SMALL_BYTES = 1 << 20
_NAMING = threading.Lock()  # of one root: a process owns one


def status_of(layout: Layout, digest: Digest) -> os.stat_result | None:
    """Of what lies under a blob's name; None where nothing does. Raises OSError."""
    try:
        return os.lstat(layout.blob_name(digest))
    except FileNotFoundError:
        return None


def has_blob(layout: Layout, digest: Digest, *, size: int) -> bool:
    status = status_of(layout, digest)
    return status is not None and stat.S_ISREG(status.st_mode) and status.st_size == size


def install(layout: Layout, source: Path, *, digest: Digest, size: int) -> None:
    """Give a verified file, already durable and read-only, its final name. Raises OSError.

    Where the blob is there already, the one there stays, because trees link it; one of another size is damaged and is
    replaced.
    """
    if _name(layout, str(source), digest, size=size):
        fsync_folder(layout.blob(digest).parent)
    else:
        source.unlink()


def commit_small(layout: Layout, items: Sequence[tuple[Digest, bytes]], *, syncfs_descriptor: int) -> None:
    """Verify and commit files of at most SMALL_BYTES: syncfs, renames, syncfs.

    Raises DigestMismatch or InvalidRequest before anything is written, else OSError; each file is then committed or
    absent on its own.
    """
    for digest, data in items:
        if len(data) > SMALL_BYTES:
            raise InvalidRequest(f"{digest} has {len(data)} bytes; a batch takes files of up to {SMALL_BYTES}")
        actual = hashlib.sha256(data).hexdigest()
        if actual != digest.hex:
            raise DigestMismatch(f"expected {digest}, got sha256:{actual}")
    missing = {digest: data for digest, data in items if not has_blob(layout, digest, size=len(data))}
    if not missing:
        return
    prefix = scratch_name(layout.scratch)
    written: dict[Digest, str] = {}
    try:
        for digest, data in missing.items():
            written[digest] = f"{prefix}.{len(written)}"
            _write_read_only(written[digest], data)
        syncfs(syncfs_descriptor)
        for digest, name in written.items():
            if not _name(layout, name, digest, size=len(missing[digest])):
                os.unlink(name)  # noqa: PTH108 - another pull was first
    except OSError:
        for name in written.values():
            Path(name).unlink(missing_ok=True)
        raise
    syncfs(syncfs_descriptor)  # not each folder: a batch reaches most of the 256, and each fsync flushes the disk


def _name(layout: Layout, source: str, digest: Digest, *, size: int) -> bool:
    """Give a file its final name, unless the blob is there: another pull may have brought it, and published a tree that
    links it, since its bytes were asked for."""
    with _NAMING:
        if has_blob(layout, digest, size=size):
            return False
        os.rename(source, layout.blob_name(digest))  # noqa: PTH104 - the point of no return: it exists for everybody
        return True


def blobs(layout: Layout) -> Iterator[tuple[Digest, os.stat_result]]:
    """Every blob with its status; names that are not ours are left out."""
    for shard in sorted(layout.blobs.iterdir()):
        for path in sorted(shard.iterdir()):
            try:
                yield Digest(path.name), path.lstat()
            except (InvalidArtifact, FileNotFoundError):
                continue


def _write_read_only(name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fchmod(fd, 0o444)
    finally:
        os.close(fd)
