"""What a node holds complete and serves to its group, remembered so that a restarted agent goes on serving it.

    records/exchanges/<exchange>    a _File as JSON

Written after the tree; one that cannot be read, or whose tree is gone, counts as absent: peers then read elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from api.digest import Digest
from api.errors import InvalidArtifact
from api.tree import Tree
from cache.exchange.bits import NOTHING, bit
from cache.exchange.chunks import ChunkMap, chunk_bytes
from cache.store.failures import disk_errors
from cache.store.files import replace_durably
from cache.store.store import Store
from cache.transfer.file import WantedFile


def in_order(blobs: Mapping[Digest, int]) -> tuple[WantedFile, ...]:
    """The blobs that a group shares of an artifact, in the order of their chunks; an empty one has none."""
    wanted = [WantedFile(digest, size) for digest, size in blobs.items() if size]
    return tuple(sorted(wanted, key=lambda file: (-file.size, file.digest)))


def chunk_map(blobs: Iterable[WantedFile], *, members: int) -> ChunkMap:
    """The same on every member of a group of so many."""
    sizes = [file.size for file in blobs]
    return ChunkMap.of(sizes, chunk_bytes=chunk_bytes(sum(sizes), members=members))


@dataclass(frozen=True, slots=True)
class Holding:
    """``blobs`` are those that the exchange shares: of archives the layers, which need not be here any more.

    ``manifest`` is what the source said, where its digest is the revision.
    """

    exchange: str
    tree: Tree = field(repr=False)
    blobs: tuple[WantedFile, ...] = field(repr=False)
    manifest: bytes = field(default=b"", repr=False)

    def have(self, store: Store, *, members: int) -> tuple[ChunkMap, int]:
        """All chunks, and the set of those that are on the disk now. Raises DiskError."""
        chunks = chunk_map(self.blobs, members=members)
        have = NOTHING
        for number, file in enumerate(self.blobs):
            if store.has_blob(file.digest, file.size):
                for chunk in chunks.of_file(number):
                    have |= bit(chunk)
        return chunks, have


class _File(msgspec.Struct, frozen=True):
    exchange: str
    tree: str
    blobs: list[tuple[str, int]]
    manifest: bytes


def remember(store: Store, holding: Holding) -> None:
    """Durably; does nothing where it is remembered already. Raises DiskError or InsufficientCache."""
    file = _File(
        holding.exchange,
        str(holding.tree.digest),
        [(str(blob.digest), blob.size) for blob in holding.blobs],
        holding.manifest,
    )
    path = _folder(store) / holding.exchange
    body = msgspec.json.encode(file)
    with disk_errors(f"noting what {holding} shares"):
        if path.exists() and path.read_bytes() == body:
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        replace_durably(path, body, scratch=store.layout.scratch)


def remembered(store: Store) -> list[Holding]:
    """Those whose tree is here; what is known of others is forgotten. Raises DiskError."""
    found = []
    with disk_errors("reading what is shared"):
        for path in sorted(_folder(store).glob("*")):
            holding = _read(store, path)
            if holding is None:
                path.unlink()
            else:
                found.append(holding)
    return found


def _read(store: Store, path: Path) -> Holding | None:
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        tree = store.tree(Digest.parse(file.tree))
        blobs = tuple(WantedFile(Digest.parse(digest), size) for digest, size in file.blobs)
    except (msgspec.MsgspecError, InvalidArtifact):
        return None
    if tree is None or file.exchange != path.name:
        return None
    return Holding(file.exchange, tree, blobs, file.manifest)


def _folder(store: Store) -> Path:
    return store.root / "records" / "exchanges"
