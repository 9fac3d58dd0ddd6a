"""A pull in a container that has less memory than the model is large; and one that the kernel kills for memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import oracle
from tests.support.chunks import chunks_on_disk
from tests.support.command import command, environment
from tests.support.fake_registry import FakeRegistry
from tests.support.memory_limit import MemoryLimit, memory_limit, why_no_memory_limit
from tests.support.pulling import contents

pytestmark = pytest.mark.skipif(bool(why_no_memory_limit()), reason=why_no_memory_limit() or "memory can be limited")

MIB = 1 << 20
LIMIT_BYTES = 128 * MIB
FILES = {"model.safetensors": os.urandom(200 * MIB), "config.json": b"{}"}
NO_PROMISES = Path("/nonexistent")
WITHIN_S = 90.0
# Takes what is left and does not get killed for it, so that somebody else is.
GREEDY = """
import sys
open("/proc/self/oom_score_adj", "w").write("-1000")
taken = []
while True:
    taken.append(bytearray(4 << 20))
"""


@pytest.fixture
def model(registry: FakeRegistry) -> str:
    registry.add_model("m/large", "v1", FILES)
    return f"oci://{registry.host}/m/large:v1"


@pytest.fixture
def limit() -> Iterator[MemoryLimit]:
    with memory_limit(LIMIT_BYTES) as limit:
        yield limit


def pull(model: str, root: Path, *more: str) -> list[str]:
    return command("pull", "--plain-http", "--root", root, *more, model)


def test_a_pull_takes_no_more_memory_than_its_container_has(limit: MemoryLimit, model: str, tmp_path: Path) -> None:
    """The container's limit counts the page cache too, which gives way."""
    done = subprocess.run(
        [*limit.within, *pull(model, tmp_path / "cache")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert limit.kills == 0
    assert contents(Path(done.stdout.strip())) == FILES


def test_a_pull_that_is_killed_for_memory_goes_on_where_it_was(
    limit: MemoryLimit, model: str, registry: FakeRegistry, tmp_path: Path
) -> None:
    root = tmp_path / "cache"
    slow = pull(model, root, "--limit", "40MB")
    with subprocess.Popen([*limit.within, *slow], env=environment(), stderr=subprocess.DEVNULL) as pulling:
        deadline = time.monotonic() + WITHIN_S
        while not root.exists() or not chunks_on_disk(root):
            assert time.monotonic() < deadline, "no chunk came"
            time.sleep(0.05)
        with subprocess.Popen([*limit.within, sys.executable, "-c", GREEDY], stderr=subprocess.DEVNULL) as greedy:
            pulling.wait(timeout=WITHIN_S)
            greedy.kill()
    assert limit.kills == 1, "nothing was killed for memory, which proves nothing"
    oracle.check_after_crash(root, promises=NO_PROMISES)
    finished = chunks_on_disk(root)
    registry.seen.clear()
    done = subprocess.run(
        pull(model, root), env=environment(), capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert contents(Path(done.stdout.strip())) == FILES
    assert registry.blob_bytes() <= sum(map(len, FILES.values())) - sum(end - start for _, start, end in finished)
    oracle.check_after_crash(root, promises=NO_PROMISES)
