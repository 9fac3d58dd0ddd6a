"""A node's content-addressed store: one root, one owner, blobs and trees that are complete or absent.

Failure model: after kill -9 or a power loss at any point, ``Store.open`` succeeds without a manual step, a path under
blobs/ or trees/ has its complete verified bytes or does not exist, and nothing is leaked for good. Ready means
verified, complete and durable: ``publish_tree`` returns only then. The order is blob, tree, record; removal goes the
other way.

Methods may be called from any thread. One lock serialises what must be decided together (pins and removals, space);
the bytes of a pull are written outside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from api.digest import Digest
from api.errors import InUse, NotFound, Paused, Pulling
from api.tree import Tree, TreeFile
from cache.store import blobs, pause, pins, quarantine, records, space, sweep, trees
from cache.store.capacity import UNLIMITED, Amount, Disk, Watermarks
from cache.store.datafile import IO
from cache.store.draft import Draft
from cache.store.failures import disk_errors
from cache.store.files import fsync_folder, remove_folder
from cache.store.hashing import sha256_of
from cache.store.ingest import Ingest
from cache.store.layout import Layout
from cache.store.pins import Pin
from cache.store.records import PullRecord
from cache.store.root import Root
from cache.store.small import SmallFiles, verified
from cache.store.space import Claims, Usage
from cache.store.staged import Staged
from cache.store.sweep import Leftover

_DISCARDED_AT_ONCE = 256  # blobs under one hold of the lock


@dataclass(frozen=True, slots=True)
class Checked:
    """What reading a blob showed, and the number of the inode that was read."""

    state: Literal["right", "wrong", "unreadable", "absent"]
    inode: int


class Store:
    """Open with ``Store.open``; every method raises DiskError or InsufficientCache for what the disk refuses, and
    those that write raise CacheVolumeLost when the root is no longer the one that was opened."""

    def __init__(self, root: Root, *, io: IO, watermarks: Watermarks) -> None:
        self._root = root
        self._layout = Layout(root.path)
        self._io: IO = io
        self._watermarks = watermarks
        self._claims = Claims(self._layout, watermarks=watermarks)
        self._ingesting: set[Digest] = set()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, root: Path, *, io: IO = "auto", wait_s: float = 0.0, watermarks: Watermarks = UNLIMITED) -> Store:
        """Own the root, made where it is not there, and settle what a crash left of earlier work.

        Waits at most ``wait_s`` seconds for another owner. Pulls fill its disk up to ``watermarks``.
        Raises StoreLocked, UnknownFormat, DiskError, or InvalidRequest for a folder that cannot be a cache.
        """
        owned = Root.open(root, wait_s=wait_s)
        try:
            store = cls(owned, io=io, watermarks=watermarks)
            with disk_errors(f"opening the cache at {root}"):
                store._layout.create()
                sweep.reconcile(store._layout)
        except BaseException:
            owned.close()
            raise
        return store

    def __repr__(self) -> str:
        return f"Store({self.root})"

    @property
    def root(self) -> Path:
        return self._root.path

    @property
    def layout(self) -> Layout:
        """Where things lie, for those who only look."""
        return self._layout

    @property
    def cache_id(self) -> str:
        """Identity of this root; a new disk has a new one."""
        return self._root.cache_id

    def check(self) -> None:
        """Raise CacheVolumeLost when the root is no longer the one that was opened."""
        self._root.check()

    def close(self) -> None:
        """Give up the root. Ingests must be closed before."""
        self._root.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- blobs

    def has_blob(self, digest: Digest, size: int) -> bool:
        with disk_errors(f"looking for {digest}"):
            return blobs.has_blob(self._layout, digest, size=size)

    def blob_path(self, digest: Digest) -> Path:
        return self._layout.blob(digest)

    @contextmanager
    def claim(self, sizes: Mapping[Digest, int]) -> Iterator[Callable[[Iterable[Digest]], None]]:
        """Hold the blobs that a pull needs: those here are not removed, and the bytes of the others are reserved.

        Gives a function that gives some of them up before the end. Raises InsufficientCache at once when the whole
        does not fit, Paused while an operator wants no pulls.
        """
        if pause.is_paused(self.root):
            raise Paused(f"pulls into {self.root} are paused", hint="warmset resume ends the pause")
        with self._lock, self._writing("reserving space"):
            self._claims.reserve(sizes)
        held = dict(sizes)

        def give_up(some: Iterable[Digest]) -> None:
            with self._lock:
                self._claims.drop({digest: held.pop(digest) for digest in some})

        try:
            yield give_up
        finally:
            give_up(list(held))

    def ingest(self, digest: Digest, *, size: int, chunk_bytes: int, place: str = "") -> Ingest:
        """Start the blob, or resume what is left of it; its space is reserved and, where possible, allocated.

        With a ``place`` only what came through that very one is resumed: a part of a blob is as private as the whole.

        One at a time a digest: raises Pulling while another ingest of it is open. Raises InsufficientCache, which says
        how much is missing.
        """
        sizes = {digest: size}
        with self._lock, self._writing(f"starting the ingest of {digest}"):
            if digest in self._ingesting:
                raise Pulling(f"{digest} is on its way already")
            self._claims.reserve(sizes)
            self._ingesting.add(digest)

        def release() -> None:
            with self._lock:
                self._claims.drop(sizes)
                self._ingesting.discard(digest)

        try:
            return Ingest.open(
                digest,
                size=size,
                chunk_bytes=chunk_bytes,
                place=place,
                layout=self._layout,
                io=self._io,
                check_root=self._root.check,
                on_close=release,
            )
        except BaseException:
            release()
            raise

    def stage(self, *, size: int = 0) -> Staged:
        """A sequential writer for a file whose digest is known only at its end; ``size`` bytes are allocated at once,
        where the file system can. Raises InsufficientCache when they do not fit."""
        with self._lock, self._writing("reserving space"):
            self._claims.require(Amount(size, 1))
            return Staged(self._layout, size=size, io=self._io, check_root=self._root.check)

    def require_room(self, amount: Amount) -> None:
        """Raise InsufficientCache where so much does not fit beside what pulls have reserved."""
        with self._lock, self._writing("looking for space"):
            self._claims.require(amount)

    def draft(self) -> Draft:
        """For a tree that is to be published from archives. Raises OSError, as all that it does."""
        return Draft(self._layout)

    def small_files(self, draft: Draft | None = None) -> SmallFiles:
        """Takes in files of at most SMALL_BYTES and commits them together. Raises OSError, as all that it does."""
        return SmallFiles(self._layout, draft=draft, require=self.require_room)

    def commit_small(self, items: Sequence[tuple[Digest, bytes]]) -> None:
        """Verify and commit files of at most SMALL_BYTES in one batch. Raises DigestMismatch or InsufficientCache
        before any is written."""
        files = verified(items)
        with self._lock, self._writing("reserving space"):
            unclaimed = [len(data) for digest, data in files.items() if digest not in self._claims]
            if unclaimed:
                self._claims.require(Amount(sum(unclaimed), len(unclaimed)))
        with self._writing(f"committing {len(files)} small files"), self.small_files() as small:
            for digest, data in files.items():
                small.put(digest, data)

    def check_blob(self, digest: Digest, *, on_bytes: Callable[[int], None] | None = None) -> Checked:
        """Read a blob and compare. Changes nothing; raises DiskError for what says nothing about the bytes."""
        path = self._layout.blob(digest)
        with disk_errors(f"checking {digest}"):
            try:
                inode = path.lstat().st_ino
                found = sha256_of(path, on_bytes=on_bytes)
            except FileNotFoundError:
                return Checked("absent", 0)
        return Checked("unreadable" if found is None else "right" if found == digest else "wrong", inode)

    def drop_blob(self, digest: Digest, *, inode: int | None = None) -> bool:
        """Put a blob whose bytes turned out wrong into quarantine; False where there is none, or none of that inode.

        Trees that link it keep their file, but are not intact any more, so the next pull fetches and publishes anew.
        """
        with self._lock, self._writing(f"dropping {digest}"):
            return quarantine.put(self._layout, digest, inode=inode)

    def remove_blobs(self, digests: Sequence[Digest]) -> int:
        """Delete those blobs that no tree links and no pull claims; returns the bytes freed."""
        batches = range(0, len(digests), _DISCARDED_AT_ONCE)
        return sum(self._discard(digests[at : at + _DISCARDED_AT_ONCE]) for at in batches)

    # -- trees

    def publish_tree(self, tree: Tree, *, draft: Draft | None = None) -> Path:
        """Make the tree's folder, of the draft where that fits; returns it. Does nothing when it is there and intact.

        A damaged one is made anew or, while it is mounted, mended file by file. Raises NotFound when a blob is missing.
        """
        with self._lock, self._writing(f"publishing tree {tree.digest}"):
            path = self._layout.tree(tree.digest)
            if trees.read(self._layout, tree.digest) is not None:
                fsync_folder(path.parent)  # an earlier call may have failed after its rename
                return path
            if path.exists():
                try:
                    pins.refuse_pinned(self._layout, tree.digest)
                except InUse:
                    trees.mend(self._layout, tree)
                    return path
                remove_folder(trees.unpublish(self._layout, tree.digest))
            return trees.publish(self._layout, tree, draft=draft)

    def tree(self, digest: Digest) -> Tree | None:
        """The tree when it is published and intact (every file is its blob), else None."""
        with disk_errors(f"reading tree {digest}"):
            return trees.read(self._layout, digest)

    def tree_path(self, digest: Digest) -> Path:
        return self._layout.tree(digest)

    def trees(self) -> list[Digest]:
        """Every published tree, damaged ones included."""
        with disk_errors("listing trees"):
            return trees.published(self._layout)

    def remove_tree(self, digest: Digest) -> int:
        """Remove the tree, its records, and each of its blobs that no other tree links and no pull claims.

        Returns the bytes freed, 0 where there was no such tree. Raises InUse while a publication pins it.
        """
        with self._lock, self._writing(f"removing tree {digest}"):
            pins.refuse_pinned(self._layout, digest)
            if not self._layout.tree(digest).is_dir():
                return 0
            tree = trees.described(self._layout, digest)
            for record in records.read_pulls(self._layout):
                if record.tree == digest:
                    records.remove_pull(self._layout, record.key)
            trash = trees.unpublish(self._layout, digest)
            self._layout.listing(digest).unlink(missing_ok=True)
            self._layout.use(digest).unlink(missing_ok=True)
        # Deleting many files, or one with many extents, takes a while: nobody waits for the lock meanwhile. A kill
        # leaves the folder for the next start, and its blobs for a trim.
        with disk_errors(f"removing tree {digest}"):
            remove_folder(trash)
        return self.remove_blobs(list(tree.blobs) if tree else [])

    def verify_tree(self, digest: Digest, *, on_bytes: Callable[[int], None] | None = None) -> list[TreeFile]:
        """Hash every file; returns those whose bytes are not what they should be. Raises NotFound without the tree.

        ``on_bytes`` is told of progress: bytes read since its last call.
        """
        with disk_errors(f"verifying tree {digest}"):
            tree = trees.described(self._layout, digest)
            if tree is None:
                raise NotFound(f"tree {digest} is not in the cache")
            return trees.wrong_files(self._layout, tree, on_bytes=on_bytes)

    # -- pins

    def pin(self, id: str, *, tree: Digest, note: Mapping[str, str]) -> None:  # noqa: A002 - the API's word
        """Hold a tree for a publication (64 hex digits), durably before this returns; again with the same is fine.

        Raises NotFound when the tree is absent or damaged, InUse when the id pins another tree.
        """
        wanted = Pin(id, tree, dict(note))
        with self._lock, self._writing(f"pinning tree {tree}"):
            there = pins.read(self._layout, id)
            if there is not None and there.tree != tree:
                raise InUse(f"publication {id} pins tree {there.tree}")
            if trees.read(self._layout, tree) is None:
                raise NotFound(f"tree {tree} is not in the cache")
            if there != wanted:
                pins.write(self._layout, wanted)

    def unpin(self, id: str) -> bool:  # noqa: A002 - the API's word
        """Give up a pin; False where there was none."""
        with self._lock, self._writing(f"unpinning {id}"):
            return pins.remove(self._layout, id)

    def pins(self) -> dict[str, Pin]:
        """Pins by publication id."""
        with disk_errors("reading pins"):
            return pins.read_all(self._layout).pins

    # -- records

    def record_pull(self, record: PullRecord) -> None:
        """Remember durably what was pulled under ``record.key``, in place of what was known of it."""
        with self._writing(f"recording {record.key}"):
            records.write_pull(self._layout, record)

    def pull_records(self) -> list[PullRecord]:
        """What was pulled, by key, of trees that are still here."""
        with disk_errors("reading pull records"):
            return [r for r in records.read_pulls(self._layout) if self._layout.tree(r.tree).is_dir()]

    def forget(self, key: str) -> None:
        """Drop a pull record; the tree stays."""
        with self._writing(f"forgetting {key}"):
            records.remove_pull(self._layout, key)

    def touch(self, tree: Digest, *, group: str = "") -> None:
        """Say that the tree is used now, and by which group's member; without one, what was known of that stays."""
        with self._writing(f"marking tree {tree} as used"):
            records.write_use(self._layout, tree, group=group)

    def last_used(self, tree: Digest) -> float | None:
        """When the tree was last touched, Unix time in seconds; None for never."""
        with disk_errors(f"reading the last use of tree {tree}"):
            use = records.read_use(self._layout, tree)
            return use.used_at if use else None

    # -- space

    def usage(self) -> Usage:
        """Bytes on the disk, measured now: walks the whole cache. ``disk`` is what costs nothing."""
        with self._lock, disk_errors("measuring the cache"):
            reserved = self._claims.outstanding()
        with disk_errors("measuring the cache"):
            return space.measure(self._layout, reserved=reserved, watermarks=self._watermarks)

    def disk(self) -> Disk:
        """The file system that the cache lies on."""
        with disk_errors("measuring the disk"):
            return space.measure_disk(self._layout)

    def leftovers(self, *, idle_s: float) -> list[Leftover]:
        """What nothing needs: quarantine, blobs that no tree links and unfinished ingests that no pull claims, if
        nothing was written to them for ``idle_s`` seconds."""
        with self._lock, disk_errors("looking for leftovers"):
            return sweep.leftovers(self._layout, self._claims, idle_s=idle_s)

    def trim(self, *, idle_s: float) -> int:
        """Delete ``leftovers``; returns the bytes freed. The first thing to do when space is short."""
        with self._lock, self._writing("trimming the cache"):
            found = sweep.leftovers(self._layout, self._claims, idle_s=idle_s)
            for leftover in found:
                sweep.remove(leftover)
        return sum(leftover.bytes for leftover in found)

    @contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        self._root.check()
        with disk_errors(doing):
            yield

    def _discard(self, digests: Sequence[Digest]) -> int:
        """Delete those blobs that nothing needs; returns the bytes freed."""
        with self._lock, self._writing(f"removing {len(digests)} blobs"):
            freed, trash = sweep.discard(self._layout, self._claims, digests)
        with disk_errors(f"removing {len(digests)} blobs"):
            for path in trash:
                path.unlink()
        return freed
