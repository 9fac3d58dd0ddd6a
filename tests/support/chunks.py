"""What a node's store may rely on after its agent was killed."""

from __future__ import annotations

from pathlib import Path

from cache.store.journal import boot_id, chunk_count, parse
from cache.transfer.engine import CHUNK_BYTES


def chunks_on_disk(cache: Path) -> list[tuple[str, int, int]]:
    """(blob, start, end) in bytes of what the store may rely on after the kill: whole blobs and journaled chunks."""
    blobs = (path for path in (cache / "blobs" / "sha256").rglob("*") if path.is_file())
    found = [(f"sha256:{blob.name}", 0, blob.stat().st_size) for blob in blobs]
    for ingest in (cache / "ingest").glob("*"):
        if not (ingest / "chunks.journal").exists():
            continue
        size = (ingest / "data").stat().st_size
        count = chunk_count(size, chunk_bytes=CHUNK_BYTES)
        raw = (ingest / "chunks.journal").read_bytes()
        place = raw[4:20]  # of the first record, which says where all chunks came from
        chunks = parse(raw, boot=boot_id(), chunk_bytes=CHUNK_BYTES, count=count, place=place).present
        found += [(f"sha256:{ingest.name}", c * CHUNK_BYTES, min((c + 1) * CHUNK_BYTES, size)) for c in chunks]
    return [entry for entry in found if entry[2] > entry[1]]
