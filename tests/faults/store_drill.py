"""How the drills run the store's life under strace: count its changes of the disk, then spoil one of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

STRACE = shutil.which("strace")
NO_STRACE = "needs strace: apt-get install strace"
CHANGES = (
    "rename,fsync,fdatasync,syncfs,link,linkat,unlink,unlinkat,rmdir,mkdir,chmod,fchmod,ftruncate,fallocate,pwrite64"
)
CASE_S = 60.0  # a life takes 0.5 s; under strace, on a busy machine, several seconds
_REPOSITORY = Path(__file__).parents[2]


def run(root: Path, promises: Path, *, strace: list[str], mutant: str = "") -> subprocess.CompletedProcess[str]:
    program = [
        sys.executable,
        "-m",
        "tests.faults.store_scenario",
        str(root),
        str(promises),
        *([mutant] * bool(mutant)),
    ]
    return subprocess.run(
        [STRACE or "", "-f", "-qq", *strace, *program],
        cwd=_REPOSITORY,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        timeout=CASE_S,
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )


def spoil(
    root: Path, promises: Path, *, syscall: str, n: int, fault: str, mutant: str = ""
) -> subprocess.CompletedProcess[str]:
    """``fault`` is strace's: ``signal=SIGKILL`` on entry to the call, or ``error=EIO`` in its place."""
    inject = ["-o", "/dev/null", "-e", f"trace={syscall}", "-e", f"inject={syscall}:{fault}:when={n}"]
    return run(root, promises, strace=inject, mutant=mutant)


def points(root: Path, work: Path, *, mutant: str = "") -> list[tuple[str, int]]:
    """Every (syscall, N) of an undisturbed run over a copy of ``root``; ``work`` is a scratch folder."""
    log, copy = work / "strace.log", work / "counted"
    shutil.copytree(root, copy)
    done = run(copy, work / "counted.promises", strace=["-o", str(log), "-e", f"trace={CHANGES}"], mutant=mutant)
    assert done.returncode == 0, done.stderr
    counted = Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), flags=re.MULTILINE))
    return [(syscall, n) for syscall, count in sorted(counted.items()) for n in range(1, count + 1)]
