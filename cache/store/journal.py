"""The chunk journal: which chunks of an unfinished blob are on disk. A hint, never the truth.

Fixed-size records, appended without fsync, each self-checked:

    kind 4s | boot id 16s | chunk size u64 | value u64 | crc32 of all before it u32      little-endian, 40 bytes

``chunk`` records name a chunk whose bytes were all written. A ``sync`` record says that the data file was synced when
the journal was ``value`` records long, and is itself synced. A ``place`` record says in the field of the boot id where
all chunks after it came from.

Which chunks a later process may rely on:
* within the same boot, every chunk record: what was written is in the page cache or on the disk;
* after another boot, only chunk records that a sync record covers: the rest may never have reached the disk;
* chunks of another place than the one that is asked for count for nothing: who may not read a blob there would else
  get the rest of it for a part;
* a torn or foreign record, one of another chunk size, or one out of range counts for nothing.
So any doubt leads to fewer chunks, which are fetched again, and never to an exception. Whatever was relied upon is
hashed from the disk with the whole file before a commit: OCI publishes no hash of a chunk, so a chunk that rotted
shows as a mismatch of the blob, which is then discarded and fetched once more from the start.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cache.store.files import write_all

_BODY = struct.Struct("<4s16sQQ")
_CHECK = struct.Struct("<I")
RECORD_BYTES = _BODY.size + _CHECK.size
_CHUNK = b"WSc1"
_SYNC = b"WSs1"
_PLACE = b"WSp1"
ANYWHERE = bytes(16)  # the place of chunks that a store's one user may have whatever they came through
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunk indices: all that may be relied upon now, and those among them that would survive a power loss."""

    present: frozenset[int]
    durable: frozenset[int]


def boot_id() -> bytes:
    """The kernel's random identity of this boot, 16 bytes (random(4))."""
    return bytes.fromhex(_BOOT_ID.read_text().strip().replace("-", ""))


def chunk_count(size: int, *, chunk_bytes: int) -> int:
    return -(-size // chunk_bytes)


def place_id(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16] if name else ANYWHERE


def encode(kind: bytes, *, boot: bytes, chunk_bytes: int, value: int) -> bytes:
    body = _BODY.pack(kind, boot, chunk_bytes, value)
    return body + _CHECK.pack(zlib.crc32(body))


def parse(raw: bytes, *, boot: bytes, chunk_bytes: int, count: int, place: bytes = ANYWHERE) -> Chunks:
    """Read a journal of a file of ``count`` chunks under the rules above. Takes any bytes, raises nothing."""
    chunks: list[tuple[int, int, bytes]] = []  # position, chunk, boot
    synced = 0
    came_from = ANYWHERE
    for position in range(len(raw) // RECORD_BYTES):
        record = raw[position * RECORD_BYTES : (position + 1) * RECORD_BYTES]
        body, (check,) = record[: _BODY.size], _CHECK.unpack_from(record, _BODY.size)
        if zlib.crc32(body) != check:
            continue
        kind, of_boot, of_chunk_bytes, value = _BODY.unpack(body)
        if of_chunk_bytes != chunk_bytes:
            continue
        if kind == _PLACE:
            came_from = of_boot
        elif kind == _CHUNK and value < count and came_from == place:
            chunks.append((position, value, of_boot))
        elif kind == _SYNC:
            synced = max(synced, min(value, position))
    durable = frozenset(chunk for position, chunk, _ in chunks if position < synced)
    present = durable | {chunk for _, chunk, of_boot in chunks if of_boot == boot}
    return Chunks(present=present, durable=durable)


class Journal:
    """The journal of one ingest under way. The caller serialises calls; ``length`` counts records."""

    def __init__(self, fd: int, *, boot: bytes, place: bytes, chunk_bytes: int, length: int) -> None:
        self._fd = fd
        self._boot = boot
        self._place = place
        self._chunk_bytes = chunk_bytes
        self.length = length

    @classmethod
    def start(cls, path: Path, *, boot: bytes, chunk_bytes: int, chunks: Chunks, place: bytes = ANYWHERE) -> Journal:
        """Write a fresh journal that says ``chunks`` under this boot, instead of what was there. Raises OSError."""
        said = sorted(chunks.durable)
        records = [encode(_PLACE, boot=place, chunk_bytes=chunk_bytes, value=0)]
        records += [encode(_CHUNK, boot=boot, chunk_bytes=chunk_bytes, value=chunk) for chunk in said]
        if said:
            records.append(encode(_SYNC, boot=boot, chunk_bytes=chunk_bytes, value=len(records)))
        records += _records(chunks.present - chunks.durable, boot=boot, chunk_bytes=chunk_bytes)
        temporary = path.with_suffix(".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, b"".join(records))
            if said:
                os.fdatasync(fd)
            temporary.rename(path)
        except OSError:
            os.close(fd)
            raise
        return cls(fd, boot=boot, place=place, chunk_bytes=chunk_bytes, length=len(records))

    def chunk(self, index: int) -> None:
        """Say that a chunk's bytes were all written."""
        self._append(_CHUNK, index)

    def synced(self, length: int) -> None:
        """Say that the data file was synced after the journal had reached ``length`` records, and sync the journal."""
        self._append(_SYNC, length)
        os.fdatasync(self._fd)

    def forget(self) -> None:
        """Drop every chunk."""
        os.ftruncate(self._fd, 0)
        write_all(self._fd, encode(_PLACE, boot=self._place, chunk_bytes=self._chunk_bytes, value=0))
        self.length = 1

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, kind: bytes, value: int) -> None:
        write_all(self._fd, encode(kind, boot=self._boot, chunk_bytes=self._chunk_bytes, value=value))
        self.length += 1


def _records(chunks: Iterable[int], *, boot: bytes, chunk_bytes: int) -> list[bytes]:
    return [encode(_CHUNK, boot=boot, chunk_bytes=chunk_bytes, value=chunk) for chunk in sorted(chunks)]
