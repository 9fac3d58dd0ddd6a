"""Inodes that run out, a disk that turns read-only or goes in the middle of a pull, a container's overlay: on real file
systems. D01, D04, D11, S13 of docs/faults.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or not Path("/dev/loop-control").exists()
    or not all(map(shutil.which, ("unshare", "mkfs.ext4", "mount"))),
    reason="needs root, loop devices (modprobe loop) and apt-get install e2fsprogs util-linux mount",
)

Case = Callable[[str], list[str]]


@pytest.fixture
def case(in_memory: Path) -> Case:
    """Runs one; returns the lines it printed."""

    def run(name: str) -> list[str]:
        done = subprocess.run(
            ["unshare", "-m", sys.executable, "-m", "tests.faults.store_small_disks", name, str(in_memory)],
            cwd=REPOSITORY,
            timeout=60,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_a_model_of_more_files_than_there_are_inodes_is_refused_before_a_byte(case: Case) -> None:
    refused, fits, next_one_does_not, after_removal = case("inodes")
    assert refused == "InsufficientCache True 0 []", "inodes are missing, no bytes, and nothing was asked for"
    assert fits == "1 True"
    assert next_one_does_not == "InsufficientCache True"
    assert after_removal == "1"


def test_inodes_that_others_took_meanwhile_are_a_full_disk_until_they_are_back(case: Case) -> None:
    assert case("last-inode") == ["InsufficientCache", "150"]


def test_a_disk_that_turns_read_only_under_a_pull_is_named_and_the_pull_done_after_a_remount(case: Case) -> None:
    assert case("read-only") == ["DiskError True", "2"]


def test_a_disk_that_goes_under_a_pull_gets_nothing_written_in_its_place(case: Case) -> None:
    assert case("lost") == ["CacheVolumeLost", "[]"]


def test_a_container_s_overlay_keeps_every_promise_too(case: Case) -> None:
    assert case("overlay") == ["2 0"]
