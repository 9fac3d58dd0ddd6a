"""Which tasks a list of files makes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cache.transfer.engine import WantedBatch
from cache.transfer.file import WantedFile

SMALL_BYTES = 1 << 20  # files up to this size are fetched into memory and committed together
BATCH_FILES = 64
BATCH_BYTES = 4 << 20  # within a worker's share of memory


def plan(files: Iterable[WantedFile]) -> list[WantedFile | WantedBatch]:
    """Large files, largest first so that the last to finish is a short one, then batches of small ones."""
    ordered = sorted(files, key=lambda file: (-file.size, file.digest))
    large: list[WantedFile | WantedBatch] = [file for file in ordered if file.size > SMALL_BYTES]
    batch: list[WantedFile] = []
    batches: list[WantedFile | WantedBatch] = []
    for file in ordered[len(large) :]:
        if batch and (len(batch) == BATCH_FILES or sum(f.size for f in batch) + file.size > BATCH_BYTES):
            batches.append(WantedBatch(tuple(batch)))
            batch = []
        batch.append(file)
    if batch:
        batches.append(WantedBatch(tuple(batch)))
    return large + batches
