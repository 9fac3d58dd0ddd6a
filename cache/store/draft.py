"""A tree's folder before its digest is known: small files of archives are written at the very paths they will have.

Each then needs one more name, under blobs/; a file from scratch/ needs two, and naming is most of what so small a file
costs. It lies among the trees under a name that is swept at start.
"""

from __future__ import annotations

import os

from api.digest import Digest
from api.tree import Tree
from cache.store.files import remove_folder
from cache.store.layout import Layout


class Draft:
    """Used by one thread, as a context manager that deletes it, unless it was published. ``files`` are those blobs
    that lie in it, by path, and ``folders`` what was made for them, "" being the tree's own. Every method raises
    OSError."""

    def __init__(self, layout: Layout) -> None:
        self.folder = layout.draft()
        self.files: dict[str, Digest] = {}
        self.folders: set[str] = set()

    def place(self, path: str, digest: Digest) -> str | None:
        """Where to write the file of a safe path, its folders made; None where another file is in the way."""
        if path in self.files or path in self.folders or not self._make(path.rpartition("/")[0]):
            return None
        self.files[path] = digest
        return f"{self.folder}/{path}"

    def forget(self, path: str) -> None:
        """The file was deleted."""
        del self.files[path]

    def fits(self, tree: Tree) -> bool:
        """Whether all that lies here belongs to the tree. Layers of an image may hide each other's files."""
        digests = {file.path: file.digest for file in tree.files}
        return bool(self.files) and all(digests.get(path) == digest for path, digest in self.files.items())

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        remove_folder(self.folder)

    def _make(self, folder: str) -> bool:
        if folder in self.folders:
            return True
        if folder in self.files or (folder and not self._make(folder.rpartition("/")[0])):
            return False
        os.mkdir(f"{self.folder}/{folder}", 0o700)  # noqa: PTH102 - as text, as all that is done for each file
        self.folders.add(folder)
        return True
