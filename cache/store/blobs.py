"""Blobs: complete, verified files under their sha256, or nothing."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from api.digest import Digest
from api.errors import InvalidArtifact
from cache.store.files import fsync_folder
from cache.store.layout import Layout

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
    if name_blob(layout, str(source), digest=digest, size=size):
        fsync_folder(layout.blob(digest).parent)
    else:
        source.unlink()


def name_blob(layout: Layout, source: str, *, digest: Digest, size: int) -> bool:
    """Give a file its final name, unless the blob is there: another pull may have brought it, and published a tree that
    links it, since its bytes were asked for."""
    with _NAMING:
        if has_blob(layout, digest, size=size):
            return False
        os.rename(source, layout.blob_name(digest))  # noqa: PTH104 - the point of no return: it exists for everybody
        return True


def link_blob(layout: Layout, source: str, *, digest: Digest, size: int) -> bool:
    """Like ``name_blob`` for a file that keeps the name it has, in a draft."""
    blob = layout.blob_name(digest)
    with _NAMING:
        try:
            os.link(source, blob)
        except FileExistsError:
            if has_blob(layout, digest, size=size):
                return False
            os.unlink(blob)  # noqa: PTH108 - of another size: damaged
            os.link(source, blob)
        return True


def blobs(layout: Layout) -> Iterator[tuple[Digest, os.stat_result]]:
    """Every blob with its status; names that are not ours are left out."""
    for shard in sorted(layout.blobs.iterdir()):
        for path in sorted(shard.iterdir()):
            try:
                yield Digest(path.name), path.lstat()
            except (InvalidArtifact, FileNotFoundError):
                continue
