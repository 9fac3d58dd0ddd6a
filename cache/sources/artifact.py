"""What a reference resolved to: files whose sha256 is known or not, and archives that hold more of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from api.digest import Digest
from api.errors import DigestMismatch, InvalidArtifact, NotFound
from api.tree import Tree, TreeFile
from cache.archives.packing import Packing
from cache.sources.filter import Filter as Filter

EMPTY = Digest("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


@dataclass(frozen=True, slots=True)
class Archive:
    """A tar layer, fetched and verified as a whole and unpacked as it streams.

    ``image`` says that it is a layer of a container image: only what lies under /models counts."""

    digest: Digest
    size: int
    packing: Packing = "tar"
    image: bool = False


@dataclass(frozen=True, slots=True)
class Unhashed:
    """A file whose sha256 the source does not publish; only its bytes tell it.

    ``key`` stands in for the digest until then: it hashes all that the source does say of these very bytes (its
    version, its git-sha1), so that the same key means the same bytes. ``git_sha1`` is checked where it is known.
    """

    path: str
    size: int
    key: Digest
    git_sha1: str = ""


def key_of(*said: str) -> Digest:
    """The key of a file of which the source says this much."""
    return Digest(hashlib.sha256("\0".join(said).encode()).hexdigest())


@dataclass(frozen=True)
class Artifact:
    """Files in the order of the source, after the filter; archives are filtered as they unpack."""

    files: tuple[TreeFile, ...]
    archives: tuple[Archive, ...] = ()
    unhashed: tuple[Unhashed, ...] = ()

    @cached_property
    def tree(self) -> Tree | None:
        """The tree, where every hash is known before a byte is fetched."""
        return None if self.archives or self.unhashed else Tree.of(self.files)

    @property
    def size(self) -> int:
        """Bytes to fetch when nothing is there yet: each distinct blob once."""
        return sum(self.blobs.values())

    @property
    def blobs(self) -> dict[Digest, int]:
        """Size in bytes of all that may have to be fetched, by digest or key."""
        blobs = {file.digest: file.size for file in self.files}
        blobs.update((file.key, file.size) for file in self.unhashed)
        blobs.update((archive.digest, archive.size) for archive in self.archives)
        return blobs

    def check(self, wanted: Filter) -> None:
        """Raises ExecutableContent; archives tell their files only while they are unpacked."""
        wanted.check([*(file.path for file in self.files), *(file.path for file in self.unhashed)])

    @property
    def paths(self) -> dict[Digest, str]:
        """A path of each plain file, by digest or key."""
        paths = {file.digest: file.path for file in self.files}
        paths.update((file.key, file.path) for file in self.unhashed)
        return paths

    def with_hashes(self, hashes: Mapping[Digest, Digest]) -> Artifact:
        """The artifact with the sha256 of those unhashed files whose key is in ``hashes``."""
        found = [TreeFile(f.path, f.size, hashes[f.key]) for f in self.unhashed if f.key in hashes]
        rest = tuple(file for file in self.unhashed if file.key not in hashes)
        return replace(self, files=(*self.files, *found), unhashed=rest)

    def fixed(self, sha256: Mapping[str, Digest]) -> Artifact:
        """The artifact with what somebody else vouches for, by path. Raises NotFound, or DigestMismatch where the
        source publishes another."""
        published = {file.path: file.digest for file in self.files}
        paths = published.keys() | {file.path for file in self.unhashed}
        for path, digest in sha256.items():
            if path not in paths:
                raise NotFound(f"a sha256 is given for {path!r}, which the source does not list")
            if published.get(path, digest) != digest:
                raise DigestMismatch(
                    f"{path}: sha256 {digest.hex} is given, and the source publishes {published[path].hex}"
                )
        return self.with_hashes({file.key: sha256[file.path] for file in self.unhashed if file.path in sha256})


def check_files(files: Sequence[TreeFile]) -> None:
    """Refuse an artifact whose names clash or are unsafe, before its filter hides some of them."""
    if files:
        Tree.of(files)
    for file in files:
        if (file.size == 0) != (file.digest == EMPTY):
            raise InvalidArtifact(f"file {file.path!r}: size {file.size} does not go with its digest")


def select(known: Sequence[TreeFile], unhashed: Sequence[Unhashed], *, wanted: Filter) -> Artifact:
    """The artifact of a source's files. Raises InvalidArtifact or UnsafePath, also for what the filter leaves out."""
    # An empty file needs no telling.
    known = [*known, *(TreeFile(file.path, 0, EMPTY) for file in unhashed if not file.size)]
    unhashed = [file for file in unhashed if file.size]
    check_files(known)
    Tree.of([*known, *(TreeFile(file.path, file.size, file.key) for file in unhashed)])
    files = tuple(file for file in known if wanted.takes(file.path))
    rest = tuple(file for file in unhashed if wanted.takes(file.path))
    if not files and not rest:
        raise InvalidArtifact("no file of the model is left to take", hint="include or exclude fewer")
    return Artifact(files, unhashed=rest)
