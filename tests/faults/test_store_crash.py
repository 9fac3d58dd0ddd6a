"""kill -9 at every syscall that changes the disk: the store comes back by itself, with nothing half made.

The kill happens on entry to the N-th call of one kind, before it takes effect (strace fault injection), for every kind
and every N that an undisturbed run makes.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cache.store import Store
from tests.faults import oracle
from tests.faults.store_mutants import MUTANTS
from tests.faults.store_scenario import BIG, CHUNK, FIRST, SECOND, digest_of, live, tree_of

STRACE = shutil.which("strace")
REPOSITORY = Path(__file__).parents[2]
CHANGES = (
    "rename,fsync,fdatasync,syncfs,link,linkat,unlink,unlinkat,rmdir,mkdir,chmod,fchmod,ftruncate,fallocate,pwrite64"
)
CASE_S = 20.0
AT_ONCE = 2

pytestmark = pytest.mark.skipif(STRACE is None, reason="needs strace: apt-get install strace")


def run(root: Path, promises: Path, *, strace: list[str], mutant: str = "") -> int:
    program = [
        sys.executable,
        "-m",
        "tests.faults.store_scenario",
        str(root),
        str(promises),
        *([mutant] * bool(mutant)),
    ]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [STRACE or "", "-f", "-qq", *strace, *program]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, timeout=CASE_S, check=False).returncode


def crash_points(root: Path, work: Path, *, mutant: str = "") -> Iterator[tuple[str, int]]:
    """Every (syscall, N) of an undisturbed run over a copy of ``root``."""
    log = work / "strace.log"
    copy = work / "counted"
    shutil.copytree(root, copy)
    code = run(copy, work / "counted.promises", strace=["-o", str(log), "-e", f"trace={CHANGES}"], mutant=mutant)
    assert code == 0
    counted = Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), flags=re.MULTILINE))
    for syscall, count in sorted(counted.items()):
        for n in range(1, count + 1):
            yield syscall, n


def crash(root: Path, promises: Path, *, syscall: str, n: int, mutant: str = "") -> None:
    inject = ["-o", "/dev/null", "-e", f"trace={syscall}", "-e", f"inject={syscall}:signal=SIGKILL:when={n}"]
    code = run(root, promises, strace=inject, mutant=mutant)
    # O8. strace ends by the signal that ended its child.
    assert code == -signal.SIGKILL, f"{syscall} number {n} was not hit: the case proves nothing"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose folders exist: making those has a test of its own."""
    Store.open(tmp_path / "fresh").close()
    return tmp_path / "fresh"


def test_a_kill_at_any_change_of_the_disk_leaves_nothing_half_made(root: Path, tmp_path: Path) -> None:
    def drill(point: tuple[str, int]) -> None:
        syscall, n = point
        case, promises = tmp_path / f"{syscall}-{n}", tmp_path / f"{syscall}-{n}.promises"
        shutil.copytree(root, case)
        crash(case, promises, syscall=syscall, n=n)
        try:
            oracle.check_after_crash(case, promises=promises)
            live(case, promises)  # O6: what was cut short can simply be done again
            oracle.check_after_crash(case, promises=promises)
            with Store.open(case) as store:
                assert store.trees() == [tree_of(SECOND).digest]
                assert store.pins() == {}
                assert store.tree(tree_of(FIRST).digest) is None
        except AssertionError as error:
            raise AssertionError(f"killed at {syscall} number {n}: {error}") from error
        shutil.rmtree(case)

    points = list(crash_points(root, tmp_path))
    assert len(points) > 80, "a life that changes the disk so rarely is not the one this test was written for"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(drill, points))


def test_a_kill_while_a_fresh_root_is_made_is_made_good_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    points = [
        (s, n) for s, n in crash_points(tmp_path / "empty", tmp_path) if s in ("mkdir", "fsync", "rename", "chmod")
    ]
    few = [(s, n) for s, n in points if n in (1, 2, 3, 100, 264, 266)]
    assert len(few) > 10
    for syscall, n in few:
        case, promises = tmp_path / f"{syscall}-{n}", tmp_path / f"{syscall}-{n}.promises"
        crash(case, promises, syscall=syscall, n=n)
        oracle.check_after_crash(case, promises=promises)


def test_what_was_journaled_before_a_kill_is_not_fetched_again(root: Path, tmp_path: Path) -> None:
    crash(root, tmp_path / "promises", syscall="fchmod", n=1)  # the seal of the large blob, all of it written
    with Store.open(root) as store, store.ingest(digest_of(BIG), size=len(BIG), chunk_bytes=CHUNK) as ingest:
        assert ingest.have() == set(range(ingest.chunks))
        ingest.commit(digest_of(BIG))
    oracle.check_visible(root)


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_the_drill_notices_a_store_without_its_safeguard(root: Path, tmp_path: Path, mutant: str) -> None:
    shown_by = MUTANTS[mutant].shown_by
    for syscall, n in crash_points(root, tmp_path, mutant=mutant):
        if syscall != shown_by:
            continue
        case, promises = tmp_path / f"{syscall}-{n}", tmp_path / f"{syscall}-{n}.promises"
        shutil.copytree(root, case)
        crash(case, promises, syscall=syscall, n=n, mutant=mutant)
        try:
            oracle.check_after_crash(case, promises=promises)
        except oracle.Broken:
            return
    pytest.fail(f"{mutant}: no crash showed it")
