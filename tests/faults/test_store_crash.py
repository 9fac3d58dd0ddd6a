"""kill -9 at every syscall that changes the disk: the store comes back by itself, with nothing half made.

The kill happens on entry to the N-th call of one kind, before it takes effect (strace fault injection), for every kind
and every N that an undisturbed run makes.
"""

from __future__ import annotations

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cache.store import Store
from tests.faults import oracle
from tests.faults.store_drill import NO_STRACE, STRACE, points, spoil
from tests.faults.store_mutants import MUTANTS
from tests.faults.store_scenario import BIG, CHUNK, FIRST, LAYER, SECOND, digest_of, live, tree_of

AT_ONCE = 2

pytestmark = pytest.mark.skipif(STRACE is None, reason=NO_STRACE)


def crash(root: Path, promises: Path, *, syscall: str, n: int, mutant: str = "") -> None:
    done = spoil(root, promises, syscall=syscall, n=n, fault="signal=SIGKILL", mutant=mutant)
    # O8. strace ends by the signal that ended its child.
    assert done.returncode == -signal.SIGKILL, f"{syscall} number {n} was not hit: the case proves nothing"


@pytest.fixture
def root(in_memory: Path) -> Path:
    """A root whose folders exist: making those has a test of its own."""
    Store.open(in_memory / "fresh").close()
    return in_memory / "fresh"


def test_a_kill_at_any_change_of_the_disk_leaves_nothing_half_made(root: Path, in_memory: Path) -> None:
    def drill(point: tuple[str, int]) -> None:
        syscall, n = point
        case, promises = in_memory / f"{syscall}-{n}", in_memory / f"{syscall}-{n}.promises"
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
                assert not store.has_blob(digest_of(LAYER), len(LAYER)), "nothing needs it any more"
        except AssertionError as error:
            raise AssertionError(f"killed at {syscall} number {n}: {error}") from error
        shutil.rmtree(case)

    every = points(root, in_memory)
    assert len(every) > 80, "a life that changes the disk so rarely is not the one this test was written for"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(drill, every))


def test_a_kill_while_a_fresh_root_is_made_is_made_good_at_the_next_start(in_memory: Path) -> None:
    (in_memory / "empty").mkdir()
    kinds, numbers = ("mkdir", "fsync", "rename", "chmod"), (1, 2, 3, 100, 264, 266)
    few = [(s, n) for s, n in points(in_memory / "empty", in_memory) if s in kinds and n in numbers]
    assert len(few) > 10
    for syscall, n in few:
        case, promises = in_memory / f"{syscall}-{n}", in_memory / f"{syscall}-{n}.promises"
        crash(case, promises, syscall=syscall, n=n)
        oracle.check_after_crash(case, promises=promises)


def test_what_was_journaled_before_a_kill_is_not_fetched_again(root: Path, in_memory: Path) -> None:
    crash(root, in_memory / "promises", syscall="fchmod", n=1)  # the seal of the large blob, all of it written
    with Store.open(root) as store, store.ingest(digest_of(BIG), size=len(BIG), chunk_bytes=CHUNK) as ingest:
        assert ingest.have() == set(range(ingest.chunks))
        ingest.commit(digest_of(BIG))
    oracle.check_visible(root)


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_the_drill_notices_a_store_without_its_safeguard(root: Path, in_memory: Path, mutant: str) -> None:
    shown_by = MUTANTS[mutant].shown_by
    for syscall, n in points(root, in_memory, mutant=mutant):
        if syscall != shown_by:
            continue
        case, promises = in_memory / f"{syscall}-{n}", in_memory / f"{syscall}-{n}.promises"
        shutil.copytree(root, case)
        crash(case, promises, syscall=syscall, n=n, mutant=mutant)
        try:
            oracle.check_after_crash(case, promises=promises)
        except oracle.Broken:
            return
    pytest.fail(f"{mutant}: no crash showed it")
