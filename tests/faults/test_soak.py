"""Random faults one after the other; `python -m tests.faults.soak` goes on for longer."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.command import REPOSITORY

SECONDS, SEED = 20, 1


def test_random_faults_one_after_the_other_break_no_promise(in_memory: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.soak", str(in_memory), str(SECONDS), str(SEED)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    lives, cut, faults = map(int, re.findall(r"\d+", done.stdout))
    assert lives > 2, "so few lives prove nothing"
    assert cut, "no pull was cut"
    assert faults > lives
