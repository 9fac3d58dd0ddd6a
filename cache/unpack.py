"""A tar layer into the store: verified as the blob the manifest names, its files kept under their own sha256.

Files enter the store as they stream past, before the layer's digest is known: under their own digests they claim
nothing. They become part of a tree only when the layer was right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from api.digest import Digest
from api.errors import DigestMismatch, InvalidArtifact
from api.tree import MAX_FILES, TreeFile
from cache.sources.artifact import Archive, Filter
from cache.sources.oci.image import FOLDER, Change, below, is_elsewhere, overlay, whiteout
from cache.sources.packing import unpacking
from cache.sources.tar import Member, TarStream
from cache.store.store import Store
from cache.transfer.engine import MAX_TRIES
from cache.transfer.file import Tools
from cache.transfer.plan import BATCH_BYTES, BATCH_FILES, SMALL_BYTES
from cache.transfer.reader import BlobReader


@dataclass(slots=True)
class WantedArchive:
    """A task of the transfer engine: one worker fetches, verifies and unpacks. ``change`` is what it found."""

    archive: Archive
    store: Store
    wanted: Filter
    change: Change = field(default_factory=Change)

    def run(self, tools: Tools) -> None:
        """Raises DigestMismatch after one clean retry, InvalidArtifact or UnsafePath for what must not be unpacked."""
        for attempt in range(1, MAX_TRIES + 1):
            actual, problem = self._once(tools)
            if actual == self.archive.digest:
                if problem is not None:
                    raise problem
                tools.link.meter.finished()
                return
            if attempt == MAX_TRIES:
                raise DigestMismatch(f"archive {self.archive.digest}: got {actual}")
            tools.link.meter.undo(self.archive.size)

    def _once(self, tools: Tools) -> tuple[Digest, InvalidArtifact | None]:
        sha256 = hashlib.sha256()
        size = self.archive.size
        reader = BlobReader(tools.session, self.archive.digest, size=size, start=0, stop=size, link=tools.link)

        def fill(buffer: memoryview) -> int:
            filled = reader.fill(buffer)
            sha256.update(buffer[:filled])
            return filled

        half = len(tools.scratch) // 2
        window, packed = tools.scratch[:half], tools.scratch[half:]
        problem: InvalidArtifact | None = None
        try:
            tar = unpacking(fill, packing=self.archive.packing, size=size, scratch=packed)
            self.change = self._unpack(TarStream(tar, window, ignores=is_elsewhere if self.archive.image else None))
        except InvalidArtifact as error:
            # Perhaps only damaged on its way: the layer's digest, over all its bytes, tells.
            problem = error
            while fill(tools.scratch):
                pass
        finally:
            reader.close()
        return Digest(sha256.hexdigest()), problem

    def _unpack(self, stream: TarStream) -> Change:
        files: list[TreeFile] = []
        removed: set[str] = set()
        emptied: set[str] = set()
        small = _Batch(self.store.commit_small)
        while (member := stream.next()) is not None:
            path = member.path
            if self.archive.image:
                if hidden := whiteout(path):
                    (emptied if hidden[1] else removed).add(hidden[0])
                    continue
                path = below(path)
            if not self.wanted.takes(path):
                continue
            self.wanted.check([path])
            digest = small.add(stream, member) if member.size <= SMALL_BYTES else self._stage(stream, member)
            files.append(TreeFile(path, member.size, digest))
            if len(files) > MAX_FILES:
                raise InvalidArtifact(f"an archive holds more than {MAX_FILES} files")
        stream.finish()
        small.flush()
        return Change(tuple(files), frozenset(removed), frozenset(emptied))

    def _stage(self, stream: TarStream, member: Member) -> Digest:
        with self.store.stage() as staged:
            while len(piece := stream.read(member.size)):
                staged.write(piece)
            return staged.commit()


def files_of(archives: Sequence[WantedArchive]) -> list[TreeFile]:
    """What all archives hold together: beside each other, or, of an image's layers, over each other.

    Raises InvalidArtifact where an image holds no model."""
    if not any(wanted.archive.image for wanted in archives):
        return [file for wanted in archives for file in wanted.change.files]
    files = overlay([wanted.change for wanted in archives])
    if not files:
        raise InvalidArtifact(
            f"the container image holds no file to take under /{FOLDER}", hint="is it a model's image at all?"
        )
    return files


class _Batch:
    """Small files gathered in memory and committed together."""

    def __init__(self, commit: Callable[[list[tuple[Digest, bytes]]], None]) -> None:
        self._commit = commit
        self._items: list[tuple[Digest, bytes]] = []
        self._bytes = 0

    def add(self, stream: TarStream, member: Member) -> Digest:
        content = bytearray()
        while len(piece := stream.read(member.size)):
            content += piece
        digest = Digest(hashlib.sha256(content).hexdigest())
        self._items.append((digest, bytes(content)))
        self._bytes += len(content)
        if len(self._items) == BATCH_FILES or self._bytes >= BATCH_BYTES:
            self.flush()
        return digest

    def flush(self) -> None:
        if self._items:
            self._commit(self._items)
            self._items, self._bytes = [], 0
