"""Container images that carry a model under /models, as KServe's modelcars do. Pure.

Only what lies under /models is read, and it becomes the tree's root. Later layers lie over earlier ones by the rules
of the OCI image spec ("Image Layer Filesystem Changeset"), whiteouts included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.errors import InvalidArtifact, UnsafePath
from api.tree import TreeFile

FOLDER = "models"
MAX_LAYERS = 1000  # container runtimes stop at about 500
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Change:
    """What one layer does: ``files`` it adds (paths below /models), paths it removes, folders that it empties first.
    The empty path is /models itself."""

    files: tuple[TreeFile, ...] = ()
    removed: frozenset[str] = frozenset()
    emptied: frozenset[str] = frozenset()


def is_elsewhere(name: str) -> bool:
    """Whether an entry of a layer has nothing to do with /models. Raises UnsafePath for a name that might have."""
    path = name.removeprefix("./").rstrip("/")
    if path in ("", "."):
        return name[:1] != "/"  # the image's root itself
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise UnsafePath(f"file name {name[:120]!r} of an image could mean another place")
    return parts[0] != FOLDER and parts not in ([_OPAQUE], [_WHITEOUT + FOLDER])


def below(path: str) -> str:
    """The path below /models of an entry that is not elsewhere. Raises InvalidArtifact where /models is a file."""
    folder, slash, rest = path.partition("/")
    if slash:
        return rest
    if folder == FOLDER:
        raise InvalidArtifact("the image's /models is not a folder")
    return folder  # a whiteout beside or of /models


def whiteout(path: str) -> tuple[str, bool] | None:
    """What an entry hides of earlier layers: (path below /models, whether only what lies in it); None for a file."""
    if path in (_OPAQUE, _WHITEOUT + FOLDER):
        return "", True
    inner = path.partition("/")[2]
    folder, slash, name = inner.rpartition("/")
    if name == _OPAQUE:
        return folder, True
    if not name.startswith(_WHITEOUT):
        return None
    hidden = name.removeprefix(_WHITEOUT)
    if hidden in ("", ".", "..") or hidden.startswith(_WHITEOUT):
        raise InvalidArtifact(f"the image holds the whiteout {path[:120]!r}, which means nothing")
    return f"{folder}{slash}{hidden}", False


def overlay(changes: Sequence[Change]) -> list[TreeFile]:
    """The files that are left when all layers lie over each other, the first one lowest."""
    files: list[TreeFile] = []
    hidden: set[str] = set()  # by a layer above: the path itself, and all below it
    emptied: set[str] = set()  # all below it
    folders: set[str] = set()  # which files above lie in: no file below may be in their place
    for change in reversed(changes):
        files += [
            file
            for file in change.files
            if file.path not in hidden
            and file.path not in folders
            and not any(folder in hidden or folder in emptied for folder in _ancestors(file.path))
        ]
        # Also what is hidden itself hides: it took the place of what was there before it.
        hidden |= change.removed | {file.path for file in change.files}
        emptied |= change.emptied
        folders.update(folder for file in change.files for folder in _ancestors(file.path))
    return files


def _ancestors(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path
