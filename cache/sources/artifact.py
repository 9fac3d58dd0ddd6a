"""What a reference resolved to: plain files whose hashes are known, and archives that hold more of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from api.digest import Digest
from api.errors import InvalidArtifact
from api.tree import Tree, TreeFile


@dataclass(frozen=True, slots=True)
class Filter:
    """Globs over file paths; ``*`` also spans slashes, as in ``huggingface-cli``. Without includes all are taken."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        wanted = not self.include or any(fnmatchcase(path, glob) for glob in self.include)
        return wanted and not any(fnmatchcase(path, glob) for glob in self.exclude)

    def __str__(self) -> str:
        """Canonical text, empty without globs: two pulls of one revision differ exactly where this does."""
        words = [f"+{glob}" for glob in sorted(self.include)] + [f"-{glob}" for glob in sorted(self.exclude)]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Archive:
    """An uncompressed tar layer, fetched and verified as a whole and unpacked as it streams."""

    digest: Digest
    size: int


@dataclass(frozen=True)
class Artifact:
    """Files in the order of the manifest, after the filter; archives are filtered as they unpack."""

    files: tuple[TreeFile, ...]
    archives: tuple[Archive, ...]

    @cached_property
    def tree(self) -> Tree | None:
        """The tree, where every hash is known before a byte is fetched."""
        return None if self.archives else Tree.of(self.files)

    @property
    def size(self) -> int:
        """Bytes to fetch when nothing is there yet: each distinct blob once."""
        blobs = {file.digest: file.size for file in self.files}
        blobs.update((archive.digest, archive.size) for archive in self.archives)
        return sum(blobs.values())


def check_files(files: Sequence[TreeFile]) -> None:
    """Refuse an artifact whose names clash or are unsafe, before its filter hides some of them."""
    if files:
        Tree.of(files)
    empty = Digest("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    for file in files:
        if (file.size == 0) != (file.digest == empty):
            raise InvalidArtifact(f"file {file.path!r}: size {file.size} does not go with its digest")
