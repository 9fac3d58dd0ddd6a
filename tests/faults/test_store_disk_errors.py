"""Every call to the disk may fail: the failure has a name, and afterwards everything holds as after a crash."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cache.store import Store
from tests.faults import oracle
from tests.faults.store_drill import NO_STRACE, STRACE, points, spoil
from tests.faults.store_scenario import digest_of, live, tree_of

AT_ONCE = 2
FAULTS = {
    "EIO": ("fsync", "fdatasync", "syncfs", "pwrite64", "rename"),
    "ENOSPC": ("fallocate", "pwrite64", "mkdir"),
    "EDQUOT": ("rename",),
    "EROFS": ("unlink",),
    "EMLINK": ("link",),
    "EXDEV": ("link", "rename"),
}
NAMED = {"ENOSPC": "InsufficientCache", "EDQUOT": "InsufficientCache"}

pytestmark = pytest.mark.skipif(STRACE is None, reason=NO_STRACE)


@pytest.mark.parametrize("errno", sorted(FAULTS))
def test_a_failing_call_is_named_and_leaves_nothing_half_made(in_memory: Path, errno: str) -> None:
    root = in_memory / "fresh"
    Store.open(root).close()

    def drill(point: tuple[str, int]) -> None:
        syscall, n = point
        case, promises = in_memory / f"{syscall}-{n}", in_memory / f"{syscall}-{n}.promises"
        shutil.copytree(root, case)
        done = spoil(case, promises, syscall=syscall, n=n, fault=f"error={errno}")
        try:
            assert done.returncode == 1, "the failure went unnoticed"
            assert re.match(NAMED.get(errno, "DiskError") + ": ", done.stderr), done.stderr
            oracle.check_after_crash(case, promises=promises)
            live(case, promises)
            oracle.check_after_crash(case, promises=promises)
        except AssertionError as error:
            raise AssertionError(f"{errno} from {syscall} number {n}: {error}") from error
        shutil.rmtree(case)

    some = [(syscall, n) for syscall, n in points(root, in_memory) if syscall in FAULTS[errno]]
    some = [point for point in some if point != ("mkdir", 1)]  # of the root itself, which is there: not a failure
    assert {syscall for syscall, _ in some} == set(FAULTS[errno])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(drill, some))


def test_a_slow_fsync_is_waited_for(in_memory: Path) -> None:
    """A disk under load takes long: that is no failure (containerd once took it for one)."""
    done = spoil(in_memory / "cache", in_memory / "promises", syscall="fsync", n=300, fault="delay_enter=2000000")
    assert done.returncode == 0, done.stderr
    oracle.check_after_crash(in_memory / "cache", promises=in_memory / "promises")


def test_running_out_of_descriptors_is_named_and_over_once_there_are_some(in_memory: Path) -> None:
    program = """
import os, resource, sys
from pathlib import Path
from api.errors import DiskError
from cache.store import Store
from tests.faults.store_scenario import digest_of, live
with Store.open(Path(sys.argv[1])) as store:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
    attempts = [
        lambda: store.ingest(digest_of(b"x"), size=1, chunk_bytes=4096),
        lambda: store.commit_small([(digest_of(b"x"), b"x")]),
        store.stage,
    ]
    for attempt in attempts:
        try:
            attempt()
        except DiskError as error:
            print("ulimit" in error.hint)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
live(Path(sys.argv[1]), Path(sys.argv[2]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(in_memory / "cache"), str(in_memory / "promises")],
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["True"] * 3, done.stderr
    oracle.check_after_crash(in_memory / "cache", promises=in_memory / "promises")


def test_a_blob_that_cannot_be_read_goes_and_the_others_stay(in_memory: Path) -> None:
    """The medium lost it: not served, not lent to another tree, and the next pull brings just that."""
    root = in_memory / "cache"
    with Store.open(root) as store:
        store.commit_small([(digest_of(data), data) for data in (b"good", b"lost")])
        tree = store.publish_tree(tree_of({"good": b"good", "lost": b"lost"}))
        blob = store.blob_path(digest_of(b"lost"))
    program = """
import sys
from pathlib import Path
from threading import Event
from cache.store import Store
from cache.store.scrub import Scrub
with Store.open(Path(sys.argv[1])) as store:
    (tree,) = store.trees()
    print([file.path for file in store.verify_tree(tree)])
    scrub = Scrub(store, bytes_per_second=1 << 40, stop=Event())
    while (found := scrub.step()) or scrub.position.after:
        if found:
            print(found.checked.state)
    print(store.tree(tree))
"""
    inject = ["-o", "/dev/null", "-P", str(blob), "-P", str(tree / "lost"), "-e", "inject=readv:error=EIO"]
    done = subprocess.run(
        [str(STRACE), "-f", "-qq", *inject, sys.executable, "-c", program, str(root)],
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["['lost']", "unreadable", "None"], done.stderr
    with Store.open(root) as store:
        assert store.has_blob(digest_of(b"good"), 4)
        assert not store.has_blob(digest_of(b"lost"), 4)
        assert len(list(store.layout.quarantine.iterdir())) == 1
