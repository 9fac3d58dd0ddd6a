"""A tree: the files of one model revision, by path, size and sha256."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from api.digest import Digest
from api.errors import InvalidArtifact, UnsafePath

MAX_PATH_BYTES = 4096  # PATH_MAX on Linux
MAX_COMPONENT_BYTES = 255  # NAME_MAX on Linux
MAX_DEPTH = 64
MAX_FILES = 100_000  # a bound on what one manifest can make a node do; the largest known model has under 1,000 files
_NO_NAMES = frozenset(("", ".", ".."))


def safe_path(path: str) -> str:
    """Return ``path`` when it can name a file of a tree, relative and slash-separated.

    Raises UnsafePath for anything that could leave the tree or be read differently by two
    programs: absolute, ``..``, ``.``, empty components, control characters, back-slashes,
    text that is not NFC, too long or too deep.
    """
    problem = _path_problem(path)
    if problem:
        raise UnsafePath(f"file name {path[:120]!r}: {problem}")
    return path


def _path_problem(path: str) -> str:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    parts = path.split("/")
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "is absolute"
    if "\\" in path or not (path.isprintable() or all(unicodedata.category(c) != "Cc" for c in path)):
        return "holds a back-slash or a control character"
    if not _NO_NAMES.isdisjoint(parts):
        return "has an empty, '.' or '..' component"
    if not unicodedata.is_normalized("NFC", path):
        return "is not in Unicode normal form C"
    # A short path has no long component: archives ask for each of their thousands.
    if len(encoded) > MAX_COMPONENT_BYTES and (
        len(encoded) > MAX_PATH_BYTES or any(len(p.encode()) > MAX_COMPONENT_BYTES for p in parts)
    ):
        return f"is longer than {MAX_PATH_BYTES} bytes, or a component than {MAX_COMPONENT_BYTES}"
    if len(parts) > MAX_DEPTH:
        return f"is deeper than {MAX_DEPTH} folders"
    return ""


@dataclass(frozen=True, slots=True, order=True)
class TreeFile:
    """One file: ``path`` below the tree's root, ``size`` in bytes, ``digest`` of its bytes."""

    path: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Tree:
    """All files of a model revision, sorted by path (as UTF-8 bytes)."""

    files: tuple[TreeFile, ...]
    digest: Digest = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", Digest(hashlib.sha256(self.listing.encode()).hexdigest()))

    @classmethod
    def of(cls, files: Iterable[TreeFile]) -> Tree:
        """Check and sort. Raises UnsafePath or InvalidArtifact (duplicates, a file used as folder)."""
        ordered = tuple(sorted(files, key=lambda f: f.path.encode()))
        if not ordered:
            raise InvalidArtifact("the model has no files")
        if len(ordered) > MAX_FILES:
            raise InvalidArtifact(f"the model has {len(ordered)} files; at most {MAX_FILES} are taken")
        names: set[str] = set()
        sizes: dict[Digest, int] = {}
        for file in ordered:
            safe_path(file.path)
            if file.size < 0:
                raise InvalidArtifact(f"file {file.path!r}: negative size")
            if sizes.setdefault(file.digest, file.size) != file.size:
                raise InvalidArtifact(f"{file.digest} is listed with two sizes")
            if file.path in names:
                raise InvalidArtifact(f"file {file.path!r} is listed twice")
            names.add(file.path)
        for file in ordered:
            folder = file.path.rpartition("/")[0]
            while folder:
                if folder in names:
                    raise InvalidArtifact(f"{folder!r} is both a file and a folder")
                folder = folder.rpartition("/")[0]
        return cls(ordered)

    @classmethod
    def parse(cls, listing: str) -> Tree:
        """The tree that a listing names. Raises InvalidArtifact or UnsafePath."""
        files: list[TreeFile] = []
        for line in listing.removesuffix("\n").split("\n"):  # not splitlines: a path may hold U+2028
            sha256, _, rest = line.partition(" ")
            size, _, path = rest.partition(" ")
            if not (size.isascii() and size.isdigit() and len(size) < 20):  # below 2^64
                raise InvalidArtifact(f"not a line of a tree's listing: {line[:120]!r}")
            files.append(TreeFile(path, int(size), Digest(sha256)))
        return cls.of(files)

    @property
    def listing(self) -> str:
        """One line a file, ``<sha256> <size> <path>``: paths hold no newline, so no two trees share a text.

        The tree's digest is the sha256 of this text in UTF-8.
        """
        return "".join(f"{f.digest.hex} {f.size} {f.path}\n" for f in self.files)

    @property
    def folders(self) -> list[str]:
        """Every folder that the files lie in, sorted, so that each follows the one that holds it."""
        found: set[str] = set()
        for file in self.files:
            folder = file.path.rpartition("/")[0]
            while folder and folder not in found:
                found.add(folder)
                folder = folder.rpartition("/")[0]
        return sorted(found)

    @property
    def size(self) -> int:
        """Bytes of all files, counted once a path."""
        return sum(file.size for file in self.files)

    @property
    def blobs(self) -> dict[Digest, int]:
        """Size in bytes of each distinct blob."""
        return {file.digest: file.size for file in self.files}
