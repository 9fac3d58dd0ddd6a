"""Another arrangement of a tree's files, for programs that look for them in places of their own.

An arrangement is again a tree: the same blobs under other paths, and a few small files that are made for it. So it is
published, mounted, verified and removed like any other, and costs no second copy.

``hf`` is the Hub's cache layout (huggingface_hub 2.4, "Understand caching"): with ``HF_HUB_CACHE`` at the tree and
``HF_HUB_OFFLINE=1``, ``from_pretrained("org/name")`` finds its files, also on a read-only mount.

    models--org--name/refs/main                 the commit, without a newline: it is read as it stands
    models--org--name/snapshots/<commit>/...    the files
    models--org--name/trees/<commit>.json       the listing, by which the library knows that none is missing
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from api.digest import Digest
from api.errors import InvalidRequest
from api.reference import Reference, UrlReference
from api.tree import Tree, TreeFile
from cache.origin import Layout
from cache.sources.artifact import EMPTY, Unhashed

_TREE_FORMAT = 1  # huggingface_hub._tree_cache.TREE_CACHE_FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class Arranged:
    """The tree to publish, and the content of those of its files that are made for it."""

    tree: Tree
    made: tuple[tuple[Digest, bytes], ...] = ()


def check_layout(layout: Layout, *, reference: Reference) -> None:
    """Raises InvalidRequest where the layout says nothing about such a reference."""
    if layout == "hf" and not (isinstance(reference, UrlReference) and reference.scheme == "hf"):
        raise InvalidRequest(
            f"{reference} is not on the Hub, so it has no place in its cache", hint="use hf://org/name"
        )


def arrange(tree: Tree, *, layout: Layout, reference: Reference, git: tuple[Unhashed, ...]) -> Arranged:
    """``reference`` is pinned; ``git`` are the files that the Hub keeps in git itself, the others being in LFS."""
    if layout == "plain" or not isinstance(reference, UrlReference):
        return Arranged(tree)
    folder = f"models--{reference.location.replace('/', '--')}"
    commit = reference.revision
    in_git = {file.path: file.git_sha1 for file in git}
    listing = {
        "format_version": _TREE_FORMAT,
        "files": {file.path: _entry(file, git_sha1=in_git.get(file.path)) for file in tree.files},
    }
    made = {
        f"{folder}/refs/main": commit.encode(),
        f"{folder}/trees/{commit}.json": json.dumps(listing, indent=1).encode(),
    }
    extra = {path: (Digest(hashlib.sha256(data).hexdigest()), data) for path, data in made.items()}
    moved = [TreeFile(f"{folder}/snapshots/{commit}/{f.path}", f.size, f.digest) for f in tree.files]
    added = [TreeFile(path, len(data), digest) for path, (digest, data) in extra.items()]
    return Arranged(Tree.of([*moved, *added]), tuple(extra.values()))


def _entry(file: TreeFile, *, git_sha1: str | None) -> dict[str, str | int]:
    if git_sha1 is None and file.digest == EMPTY:
        git_sha1 = _git_name(b"")
    if git_sha1 is not None:
        return {"size": file.size, "blob_id": git_sha1}
    # What git holds of an LFS file is its pointer (git-lfs specification, "The Pointer").
    pointer = f"version https://git-lfs.github.com/spec/v1\noid {file.digest}\nsize {file.size}\n"
    blob_id = _git_name(pointer.encode())
    return {"size": file.size, "blob_id": blob_id, "lfs_sha256": file.digest.hex, "lfs_size": file.size}


def _git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
