"""The store as a node has it: an unprivileged owner, disks that fill, and pods that read through a bind mount."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cache.store import Store
from tests.faults import oracle
from tests.faults.store_scenario import FIRST, SECOND, digest_of, live, tree_of

REPOSITORY = Path(__file__).parents[2]
NOBODY = 65534
CASE_S = 60.0

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "mount"))),
    reason="needs root, to mount and to drop privileges, and apt-get install util-linux mount",
)


def as_nobody(action: Callable[[], None]) -> int:
    """Run in a child process without privileges; returns its exit code."""

    def child() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        action()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(CASE_S)
    return process.exitcode if process.exitcode is not None else -1


def in_mount_namespace(script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "-m", sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, timeout=CASE_S, check=False, capture_output=True, text=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody can reach: pytest's own are closed to other users."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_an_owner_without_privileges_needs_none(folder: Path) -> None:
    own = folder / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    assert as_nobody(lambda: live(own / "cache", own / "promises")) == 0
    oracle.check_after_crash(own / "cache", promises=own / "promises")
    assert as_nobody(lambda: live(own / "cache", own / "promises")) == 0


def test_a_stranger_on_the_node_reads_nothing(folder: Path) -> None:
    root = folder / "cache"
    live(root, folder / "promises")
    assert as_nobody(lambda: (root / "trees" / tree_of(SECOND).digest.hex / "weights" / "model.bin").read_bytes()) != 0  # type: ignore[arg-type,return-value]


def test_a_pod_of_any_user_reads_the_whole_tree_through_its_bind_mount(folder: Path) -> None:
    with Store.open(folder / "cache") as store:
        store.commit_small([(digest_of(data), data) for data in FIRST.values()])
        tree = store.publish_tree(tree_of(FIRST))
    target = folder / "pod"
    target.mkdir()
    done = in_mount_namespace(
        """
        import errno, os, subprocess, sys
        from pathlib import Path
        tree, target = map(Path, sys.argv[1:])
        subprocess.run(["mount", "--bind", tree, target], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro,nosuid,nodev", target], check=True)
        os.setgid(65534), os.setuid(65534)
        for path in sorted(target.rglob("*")):
            if path.is_file():
                print(path.relative_to(target), len(path.read_bytes()))
        try:
            (target / "new").touch()
        except OSError as error:
            print(errno.errorcode[error.errno])
        """,
        tree,
        target,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [*(f"{path} {len(FIRST[path])}" for path in sorted(FIRST)), "EROFS"]


@pytest.mark.parametrize("options", ["size=4m", "size=4m,nr_inodes=360"])
def test_a_disk_that_fills_is_named_and_works_again_once_there_is_room(folder: Path, options: str) -> None:
    (folder / "disk").mkdir()
    done = in_mount_namespace(
        f"""
        import os, subprocess, sys
        from pathlib import Path
        from api.errors import InsufficientCache
        from cache.store import Store
        from tests.faults import oracle
        from tests.faults.store_scenario import digest_of, live, tree_of
        disk, promises = map(Path, sys.argv[1:])
        subprocess.run(["mount", "-t", "tmpfs", "-o", "{options}", "tmpfs", disk], check=True)
        live(disk / "cache", promises)

        def fill(store):
            for n in range(1000):
                files = {{f"{{n}}-{{m}}": os.urandom(30_000) for m in range(8)}}
                store.commit_small([(digest_of(data), data) for data in files.values()])
                store.publish_tree(tree_of(files))

        with Store.open(disk / "cache") as store:
            try:
                fill(store)
            except InsufficientCache as full:
                print(full.reason)
            try:
                store.ingest(digest_of(b""), size=3 << 20, chunk_bytes=4096)
            except InsufficientCache as refused:
                print(refused.reason)
            assert not list((disk / "cache" / "ingest").iterdir())
            oracle.check_disk(store)
            oracle.check_visible(disk / "cache")
            for tree in store.trees()[:-1]:
                store.remove_tree(tree)
            store.trim(idle_s=0)
        live(disk / "cache", promises)
        oracle.check_after_crash(disk / "cache", promises=promises)
        print("recovered")
        """,
        folder / "disk",
        folder / "promises",
    )
    assert done.stdout.split() == ["InsufficientCache", "InsufficientCache", "recovered"], done.stderr


def test_when_the_disk_is_unmounted_under_us_nothing_is_written_below(folder: Path) -> None:
    (folder / "disk").mkdir()
    done = in_mount_namespace(
        """
        import subprocess, sys
        from pathlib import Path
        from api.errors import CacheVolumeLost
        from cache.store import Store
        from tests.faults.store_scenario import digest_of
        (disk,) = map(Path, sys.argv[1:])
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
        store = Store.open(disk)
        subprocess.run(["umount", "-l", disk], check=True)
        for write in (
            lambda: store.ingest(digest_of(b"x"), size=1, chunk_bytes=4096),
            lambda: store.commit_small([(digest_of(b"x"), b"x")]),
        ):
            try:
                write()
            except CacheVolumeLost as lost:
                print(lost.reason)
        print(len(list(disk.iterdir())))
        """,
        folder / "disk",
    )
    assert done.stdout.split() == ["CacheVolumeLost", "CacheVolumeLost", "0"], done.stderr
