"""Proof that a source has the bytes whose digest it names, where the store has them already.

In a store that several tenants share, a present blob says nothing about a new reference: whoever writes a manifest can
name anybody's digest. So its bytes are read through the reference and hashed; nothing is written, since the blob is
here, and it is then one blob of two places.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from api.digest import Digest
from api.errors import DigestMismatch
from cache.store.places import Place
from cache.transfer.engine import MAX_TRIES
from cache.transfer.file import Tools
from cache.transfer.reader import BlobReader


@dataclass(frozen=True, slots=True)
class Proof:
    """A task of the transfer engine."""

    digest: Digest
    size: int
    place: Place

    def run(self, tools: Tools) -> None:
        """Raises DigestMismatch after one clean retry, and what reading from the source raises."""
        for attempt in range(1, MAX_TRIES + 1):
            actual = self._read(tools)
            if actual == self.digest:
                self.place.note(proven=[self.digest])
                tools.link.meter.finished()
                return
            if attempt == MAX_TRIES:
                raise DigestMismatch(f"expected {self.digest}, got {actual}")
            tools.link.meter.undo(self.size)

    def _read(self, tools: Tools) -> Digest:
        sha256 = hashlib.sha256()
        if self.size:
            reader = BlobReader(
                tools.session, self.digest, size=self.size, start=0, stop=self.size, link=tools.link, sequential=True
            )
            try:
                while filled := reader.fill(tools.scratch):
                    sha256.update(tools.scratch[:filled])
            finally:
                reader.close()
        return Digest(sha256.hexdigest())
