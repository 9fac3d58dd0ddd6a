"""Which tasks a list of files makes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cache.transfer.batch import CONNECTIONS, SMALL_BYTES, WantedBatch
from cache.transfer.file import WantedFile

# A batch costs a sync of the disk, whatever it holds; its files are fetched again after a kill.
BATCH_FILES = 3072
_FILES_A_CONNECTION = 32  # of a worker: fewer are fetched sooner than one more is set up
_LEAST_FILES = 16  # fewer are fetched sooner than a batch of them is synced
BATCH_BYTES = 12 << 20  # within a worker's share of memory


def plan(files: Iterable[WantedFile], *, workers: int) -> list[WantedFile | WantedBatch]:
    """Large files, largest first so that the last to finish is a short one, then batches of small ones: as many for
    each worker, where there are enough of them, so that none fetches the last one alone."""
    ordered = sorted(files, key=lambda file: (-file.size, file.digest.hex))
    large: list[WantedFile | WantedBatch] = [file for file in ordered if file.size > SMALL_BYTES]
    small = ordered[len(large) :]
    rounds = max(-(-len(small) // (workers * BATCH_FILES)), 1)
    most = max(-(-len(small) // (workers * rounds)), _LEAST_FILES)
    connections = min(max(len(small) // (workers * _FILES_A_CONNECTION), 1), CONNECTIONS)
    batch: list[WantedFile] = []
    batches: list[WantedFile | WantedBatch] = []
    held = 0
    for file in small:
        if batch and (len(batch) == most or held + file.size > BATCH_BYTES):
            batches.append(WantedBatch(tuple(batch), connections))
            batch, held = [], 0
        batch.append(file)
        held += file.size
    if batch:
        batches.append(WantedBatch(tuple(batch), connections))
    return large + batches
