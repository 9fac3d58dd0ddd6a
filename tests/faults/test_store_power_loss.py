"""The power goes at any change of the disk: what was promised is there, and nothing half made is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.store_power_loss import MUTANTS

REPOSITORY = Path(__file__).parents[2]
ALL_CASES_S = 250.0
LIVES = 25  # of the random drill; `python -m tests.faults.store_random_power_loss` takes more

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or not Path("/dev/loop-control").exists()
    or not all(map(shutil.which, ("unshare", "mkfs.ext4", "mount"))),
    reason="needs root, loop devices (modprobe loop) and apt-get install e2fsprogs util-linux mount",
)


def drill(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-m", sys.executable, "-m", f"tests.faults.{module}", *map(str, arguments)],
        cwd=REPOSITORY,
        timeout=ALL_CASES_S,
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_power_loss_at_any_change_of_the_disk_breaks_no_promise(in_memory: Path) -> None:
    done = drill("store_power_loss", in_memory)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 20, "so few cases prove nothing"


def test_a_power_loss_at_a_random_moment_of_parallel_pulls_breaks_no_promise(in_memory: Path) -> None:
    done = drill("store_random_power_loss", in_memory, "0", str(LIVES))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > LIVES // 2, "so few cuts prove nothing"


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_power_loss_shows_a_store_that_does_not_sync(in_memory: Path, mutant: str) -> None:
    done = drill("store_power_loss", in_memory, mutant)
    assert done.returncode == 1
    assert done.stderr.startswith("O"), done.stderr
