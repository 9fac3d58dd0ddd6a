"""A disk that changes bytes after they were verified: it is found, by name, and just that is replaced."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CASE_S = 60.0

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or not Path("/dev/loop-control").exists()
    or not all(map(shutil.which, ("unshare", "mkfs.ext4", "mount", "filefrag"))),
    reason="needs root, loop devices (modprobe loop) and apt-get install e2fsprogs util-linux mount",
)


def test_a_flipped_byte_of_a_mounted_model_is_found_and_mended_with_a_new_file(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "tests.faults.store_bit_rot", str(tmp_path)],
        cwd=REPOSITORY,
        timeout=CASE_S,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["['bad.bin']", "wrong bad.bin", "True True", "[] True"], done.stderr
