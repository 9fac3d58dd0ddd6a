"""Small models for the store's tests, and the shortest way to bring one into a store."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from api.digest import Digest
from api.tree import Tree, TreeFile
from cache.store import Ingest, Store

CHUNK = 8 << 10


def digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def has_direct_io(folder: Path) -> bool:
    (folder / "probe").touch()
    try:
        os.close(os.open(folder / "probe", os.O_RDWR | os.O_DIRECT))
    except OSError:
        return False
    return True


def tree_of(files: Mapping[str, bytes]) -> Tree:
    return Tree.of(TreeFile(path, len(data), digest_of(data)) for path, data in files.items())


def part(data: bytes, chunk: int) -> memoryview:
    return memoryview(data)[chunk * CHUNK : (chunk + 1) * CHUNK]


def put_chunks(ingest: Ingest, data: bytes, *chunks: int) -> None:
    for chunk in chunks:
        ingest.write(chunk * CHUNK, part(data, chunk))
        ingest.written(chunk)


def add_blob(store: Store, data: bytes) -> Digest:
    digest = digest_of(data)
    with store.ingest(digest, size=len(data), chunk_bytes=CHUNK) as ingest:
        put_chunks(ingest, data, *range(ingest.chunks))
        ingest.commit(digest)
    return digest


def add_tree(store: Store, files: Mapping[str, bytes]) -> Tree:
    tree = tree_of(files)
    store.commit_small([(digest_of(data), data) for data in files.values()])
    store.publish_tree(tree)
    return tree


def files_below(store: Store, *folders: str) -> list[str]:
    """Names of all files in these folders of the root, sorted."""
    return sorted(str(p.relative_to(store.root)) for f in folders for p in (store.root / f).rglob("*") if p.is_file())
