"""One life of a store, to be killed at any point.

    python -m tests.faults.store_scenario ROOT PROMISES [MUTANT]

Every promise is written to PROMISES, outside the cache, after the call that made it returned. What is to be given up
is written before the call that gives it up.
"""

import hashlib
import io
import mmap
import os
import random
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

from api.digest import Digest
from api.errors import DigestMismatch, InUse, WarmsetError
from api.tree import Tree, TreeFile
from cache.archives import unpack as unpack_module
from cache.archives.unpack import unpack
from cache.sources.artifact import Archive, Filter
from cache.store import PullRecord, Store
from cache.store import ingest as ingest_module
from tests.faults.store_mutants import MUTANTS

CHUNK = 8 << 10
PUBLICATION = "ab" * 32
_random = random.Random(7)
BIG = _random.randbytes(3 * CHUNK + 100)
MEMBER = _random.randbytes(2000)
SMALL = _random.randbytes(20)
PACKED = {"member.txt": MEMBER, "in/small.txt": SMALL}
FIRST = {"model.bin": BIG, "conf/config.json": b"{}", "conf/deep/empty": b"", **PACKED}
SECOND = {"weights/model.bin": BIG, "notes/member.txt": MEMBER}


def _packed(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


LAYER = _packed(PACKED)


def digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def tree_of(files: dict[str, bytes]) -> Tree:
    return Tree.of(TreeFile(path, len(data), digest_of(data)) for path, data in files.items())


def pull(store: Store, wanted: bytes, *, served: bytes) -> None:
    # Page-aligned, as the transfer's buffers are: else chance decides which writes are direct, and how many there are.
    buffer = mmap.mmap(-1, len(served))
    buffer[:] = served
    with store.ingest(digest_of(wanted), size=len(wanted), chunk_bytes=CHUNK) as ingest:
        for chunk in sorted(set(range(ingest.chunks)) - ingest.have(), reverse=True):
            ingest.write(chunk * CHUNK, memoryview(buffer)[chunk * CHUNK : (chunk + 1) * CHUNK])
            ingest.written(chunk)
        found = bytearray(len(wanted))
        ingest.read(0, memoryview(found))
        ingest.commit(digest_of(bytes(found)))


def bring_packed(store: Store, tree: Tree) -> None:
    """In an archive, as a layer is pulled, and publish the tree that holds its files."""
    if not store.has_blob(digest_of(LAYER), len(LAYER)):
        pull(store, LAYER, served=LAYER)
    archive = Archive(digest_of(LAYER), len(LAYER))
    with store.draft() as draft:
        unpack(store, archive, draft=draft, wanted=Filter(), on_bytes=lambda count: None, tick=lambda: None)
        store.publish_tree(tree, draft=draft)


def live(root: Path, promises: Path) -> None:
    """Pull two models that share blobs, mount one, mend it, give up the other. Runs to its end after any crash."""
    said = os.open(promises, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def promise(what: str, of: str) -> None:
        os.write(said, f"{what} {of}\n".encode())

    first, second = tree_of(FIRST), tree_of(SECOND)
    with Store.open(root) as store:
        with store.claim(first.blobs):
            if not store.has_blob(digest_of(BIG), len(BIG)):
                with suppress(DigestMismatch):
                    pull(store, BIG, served=BIG[:-1] + b"?")  # a source that serves other bytes
                pull(store, BIG, served=BIG)
            promise("blob", digest_of(BIG).hex)
            store.commit_small([(digest_of(data), data) for data in (b"{}", b"")])
            bring_packed(store, first)
            promise("tree", first.digest.hex)
        store.publish_tree(second)
        promise("tree", second.digest.hex)
        store.record_pull(PullRecord("first", "sha256:1", first.digest, "oci://registry.example.com/a:v1"))
        promise("record", "first")
        store.touch(second.digest)
        store.pin(PUBLICATION, tree=second.digest, note={"pod": "default/a"})
        promise("pin", PUBLICATION)
        with suppress(InUse):
            store.remove_tree(second.digest)
        store.drop_blob(digest_of(MEMBER))  # as if its bytes had rotted
        bring_packed(store, second)
        store.remove_blobs([digest_of(LAYER)])
        promise("gone", "record first")
        promise("gone", f"tree {first.digest.hex}")
        store.remove_tree(first.digest)
        promise("gone", f"pin {PUBLICATION}")
        store.unpin(PUBLICATION)
    os.close(said)


if __name__ == "__main__":
    # A sync after every chunk, so that the crash points of a long ingest are all in this short one; and a member that
    # is large enough to be written for itself.
    ingest_module.SYNC_BYTES = CHUNK
    unpack_module.SMALL_BYTES = len(MEMBER) - 1
    for mutant in sys.argv[3:]:
        MUTANTS[mutant].apply()
    try:
        live(Path(sys.argv[1]), Path(sys.argv[2]))
    except WarmsetError as failure:
        sys.exit(f"{failure.reason}: {failure}")
