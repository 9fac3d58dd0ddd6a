"""Every call to the disk may fail: the failure has a name, and afterwards everything holds as after a crash."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cache.store import Store
from tests.faults import oracle
from tests.faults.store_drill import NO_STRACE, STRACE, points, spoil
from tests.faults.store_scenario import live

AT_ONCE = 2
FAULTS = {
    "EIO": ("fsync", "fdatasync", "syncfs", "pwrite64"),
    "ENOSPC": ("fallocate", "pwrite64", "mkdir"),
    "EDQUOT": ("rename",),
    "EROFS": ("unlink",),
    "EMLINK": ("link",),
}
NAMED = {"ENOSPC": "InsufficientCache", "EDQUOT": "InsufficientCache"}

pytestmark = pytest.mark.skipif(STRACE is None, reason=NO_STRACE)


@pytest.mark.parametrize("errno", sorted(FAULTS))
def test_a_failing_call_is_named_and_leaves_nothing_half_made(tmp_path: Path, errno: str) -> None:
    root = tmp_path / "fresh"
    Store.open(root).close()

    def drill(point: tuple[str, int]) -> None:
        syscall, n = point
        case, promises = tmp_path / f"{syscall}-{n}", tmp_path / f"{syscall}-{n}.promises"
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

    some = [(syscall, n) for syscall, n in points(root, tmp_path) if syscall in FAULTS[errno]]
    some = [point for point in some if point != ("mkdir", 1)]  # of the root itself, which is there: not a failure
    assert {syscall for syscall, _ in some} == set(FAULTS[errno])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(drill, some))
