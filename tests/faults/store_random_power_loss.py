"""Cut the power at random moments of many lives, in which several threads pull at once: run as root in a private mount
namespace as

    unshare -m python -m tests.faults.store_random_power_loss WORK FIRST_SEED COUNT

Each seed makes its own life and its own moment. Ends with how many cuts came before the life's end, or with the first
promise that broke and its seed.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from api.digest import Digest
from api.errors import WarmsetError
from api.tree import Tree
from cache.store import PullRecord, Store
from cache.store import ingest as ingest_module
from tests.faults import oracle
from tests.faults.store_power_loss import Power, disk_with_a_store, mount_again
from tests.faults.store_scenario import CHUNK, digest_of, tree_of

AT_ONCE = 3
SHARED = b"the same in every model" * 3000

Promise = Callable[[str, str], None]


def pull(store: Store, data: bytes) -> Digest:
    digest = digest_of(data)
    with store.ingest(digest, size=len(data), chunk_bytes=CHUNK) as ingest:
        missing = sorted(set(range(ingest.chunks)) - ingest.have())
        random.Random(len(data)).shuffle(missing)
        for chunk in missing:
            ingest.write(chunk * CHUNK, memoryview(data)[chunk * CHUNK : (chunk + 1) * CHUNK])
            ingest.written(chunk)
        found = bytearray(len(data))
        ingest.read(0, memoryview(found))
        ingest.commit(digest_of(bytes(found)))
    return digest


def one_of(store: Store, seed: int, worker: int, promise: Promise) -> None:
    """Pulls models, mounts some, gives some up."""
    chance = random.Random(seed * 100 + worker)
    for turn in range(3):
        big = chance.randbytes(chance.randrange(1, 12 * CHUNK))
        small = [chance.randbytes(chance.randrange(200)) for _ in range(chance.randrange(1, 6))]
        files = {"big": big, "shared": SHARED} | {f"sub/{n}": data for n, data in enumerate(small)}
        tree = tree_of(files)
        with store.claim(tree.blobs):  # else another's removal may take what both share
            if not store.has_blob(digest_of(big), len(big)):
                pull(store, big)
            promise("blob", digest_of(big).hex)
            store.commit_small([(digest_of(data), data) for data in [SHARED, *small]])
            store.publish_tree(tree)
        promise("tree", tree.digest.hex)
        key = f"{worker}/{turn}"
        store.record_pull(PullRecord(key, "sha256:1", tree.digest, "oci://registry.example.com/a:v1"))
        promise("record", key)
        publication = f"{seed % 256:02x}{worker:02x}{turn:02x}" + "ab" * 29
        store.pin(publication, tree=tree.digest, note={})
        promise("pin", publication)
        if chance.random() < 0.5:
            promise("gone", f"pin {publication}")
            store.unpin(publication)
            _give_up(store, tree, key, files, promise)


def _give_up(store: Store, tree: Tree, key: str, files: dict[str, bytes], promise: Promise) -> None:
    promise("gone", f"record {key}")
    promise("gone", f"tree {tree.digest.hex}")
    promise("gone", f"blob {digest_of(files['big']).hex}")
    store.remove_tree(tree.digest)


def life(root: Path, promises: Path, seed: int) -> None:
    """Raises what a worker met, after all of them have ended."""
    said = os.open(promises, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def promise(what: str, of: str) -> None:
        os.write(said, f"{what} {of}\n".encode())

    failures: list[WarmsetError] = []

    def work(worker: int) -> None:
        try:
            one_of(store, seed, worker, promise)
        except WarmsetError as error:
            failures.append(error)

    with Store.open(root) as store:
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    os.close(said)
    if failures:
        raise failures[0]


def lasts(work: Path) -> float:
    """How many seconds a life takes on this machine."""
    promises = work / "promises"
    with disk_with_a_store(work) as disk:
        begun = time.monotonic()
        life(disk / "cache", promises, seed=0)
        took_s = time.monotonic() - begun
    promises.unlink()
    return took_s


def case(work: Path, seed: int, *, longest_s: float) -> float | None:
    """Cut the power at a random moment of ``longest_s``; returns how many seconds the life took where it ended before,
    else None."""
    promises = work / "promises"
    promises.unlink(missing_ok=True)
    with disk_with_a_store(work) as disk:
        power = Power()
        power.folder = os.open(disk, os.O_RDONLY)
        ended, before = threading.Event(), False

        def cut() -> None:
            nonlocal before
            before = not ended.wait(random.Random(seed).random() * longest_s)
            power.cut()

        cutter = threading.Thread(target=cut)
        begun = time.monotonic()
        cutter.start()
        with suppress(WarmsetError, OSError):
            life(disk / "cache", promises, seed)
        took_s = time.monotonic() - begun
        ended.set()
        cutter.join()
        os.close(power.folder)
        mount_again(disk)
        # A power loss ends a boot: in the same one, the journal would be right to trust what it says of the page cache.
        ingest_module.boot_id = lambda: seed.to_bytes(16, "big")
        oracle.check_after_crash(disk / "cache", promises=promises)
        promises.unlink(missing_ok=True)  # a second life makes its own, and nothing is in its way
        life(disk / "cache", promises, seed)
        oracle.check_after_crash(disk / "cache", promises=promises)
    return None if before else took_s


if __name__ == "__main__":
    ingest_module.SYNC_BYTES = CHUNK
    first, count = int(sys.argv[2]), int(sys.argv[3])
    under_way, longest_s = 0, lasts(Path(sys.argv[1]))
    for number in range(first, first + count):
        try:
            took_s = case(Path(sys.argv[1]), number, longest_s=longest_s)
        except AssertionError as broken:
            sys.exit(f"seed {number}: {broken}")
        under_way += took_s is None
        longest_s = took_s or longest_s  # else the machine at its busiest, when it was asked first, decides for all
    print(f"{under_way} of {count} lives were cut")
