"""Weights that already lie on this machine, taken into the store: checked against a reference, or as a tree of their
own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from api.errors import InvalidRequest, NotFound
from api.reference import Reference
from api.tree import Tree, TreeFile, safe_path
from cache.sources.options import SourceOptions
from cache.sources.resolve import resolve
from cache.store.adopt import adopt
from cache.store.places import Place
from cache.store.records import PullRecord
from cache.store.store import Store


@dataclass(frozen=True, slots=True)
class Imported:
    """``different`` are files whose bytes are not those of the reference; ``absent`` those that the folder lacks."""

    files: int
    bytes: int
    different: tuple[str, ...]
    absent: tuple[str, ...]


def import_known(
    store: Store,
    folder: Path,
    reference: Reference,
    *,
    options: SourceOptions,
    hard_link: bool = False,
    on_file: Callable[[str], None] | None = None,
) -> Imported:
    """Take the files of ``folder`` that ``reference`` lists with these very hashes. A pull brings the rest.

    Only a source that publishes hashes can be compared; files of archives cannot. Raises what ``resolve``, ``adopt``
    and the store do.
    """
    _require_folder(folder)
    resolved = resolve(reference, options=options)
    taken: list[TreeFile] = []
    different: list[str] = []
    absent: list[str] = []
    for file in resolved.artifact.files:
        path = folder / file.path
        if not path.is_file():
            absent.append(file.path)
        elif path.lstat().st_size != file.size:
            different.append(file.path)
        else:
            if on_file is not None:
                on_file(file.path)
            found = adopt(store, path, expected=file.digest, hard_link=hard_link)
            if found == file.digest:
                taken.append(file)
            else:
                different.append(file.path)
    # Whoever runs this on the node vouches that the source has what its listing names.
    Place(store.root, reference.place).note(proven=[file.digest for file in taken])
    return Imported(len(taken), sum(file.size for file in taken), tuple(different), tuple(absent))


def import_new(
    store: Store, folder: Path, *, hard_link: bool = False, on_file: Callable[[str], None] | None = None
) -> Tree:
    """Make a tree of all files of ``folder``, recorded under its path. Raises what ``adopt`` and the store do."""
    _require_folder(folder)
    files = []
    for path in sorted(_files(folder)):
        name = safe_path(path.relative_to(folder).as_posix())
        if on_file is not None:
            on_file(name)
        digest = adopt(store, path, hard_link=hard_link)
        files.append(TreeFile(name, store.blob_path(digest).lstat().st_size, digest))
    tree = Tree.of(files)
    store.publish_tree(tree)
    key = folder.absolute().as_uri()
    store.record_pull(PullRecord(key=key, revision=str(tree.digest), tree=tree.digest, source=key))
    store.touch(tree.digest)  # what has just come is not what goes first
    return tree


def _require_folder(folder: Path) -> None:
    if not folder.exists():
        raise NotFound(f"{folder} is not there")
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is no folder")


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            if Path(parent, name).is_symlink():
                raise InvalidRequest(
                    f"{Path(parent, name)} is a symbolic link", hint="copy the folder with links followed (cp -L) first"
                )
        yield from (Path(parent, name) for name in names)
