"""No memory and no threads: named, nothing half made, and over once there are some. D09 of docs/faults.md."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.errors import OutOfResources
from api.reference import parse_reference
from cache.pull import pull
from cache.sources import SourceOptions
from cache.store import Store
from tests.faults import oracle
from tests.support.command import REPOSITORY
from tests.support.fake_registry import FakeRegistry

FILES = {"model.safetensors": os.urandom(40 << 20), "config.json": b"{}"}
NO_PROMISES = Path("/nonexistent")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.add_model("m/tiny", "v1", FILES)
        yield running


def bring(registry: FakeRegistry, store: Store) -> Path:
    options = SourceOptions(plain_http=frozenset({registry.host}))
    return pull(store, parse_reference(f"oci://{registry.host}/m/tiny:v1"), options=options).path


def is_whole(tree: Path) -> bool:
    return all((tree / path).read_bytes() == data for path, data in FILES.items())


def test_a_pull_that_gets_no_memory_says_so_and_goes_on_with_more(registry: FakeRegistry, tmp_path: Path) -> None:
    """The address space ends where the pull begins, a few mebibytes above what the process has by then."""
    program = f"""
import re, resource, sys
from pathlib import Path
import cache.fetch
from api.errors import OutOfResources
from api.reference import parse_reference
from cache.pull import pull
from cache.sources import SourceOptions
from cache.store import Store
with Store.open(Path(sys.argv[1])) as store:
    def bring():
        options = SourceOptions(plain_http=frozenset(("{registry.host}",)))
        return pull(store, parse_reference("oci://{registry.host}/m/tiny:v1"), options=options)
    now = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + (4 << 20), hard))
    try:
        bring()
    except OutOfResources as error:
        print("named")
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    print(bring().path)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "cache")],
        cwd=REPOSITORY,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("named\n"), done.stderr
    assert is_whole(Path(done.stdout.split()[1]))
    oracle.check_after_crash(tmp_path / "cache", promises=NO_PROMISES)


@pytest.mark.parametrize("started", [0, 1, 3])
def test_a_pull_that_gets_too_few_threads_says_so_leaves_none_behind_and_goes_on(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    """By a stand-in: the kernel does not limit root's threads."""
    start, left = threading.Thread.start, started

    def start_some(thread: threading.Thread) -> None:
        nonlocal left
        if thread.name.startswith("transfer-"):
            if not left:
                raise RuntimeError("can't start new thread")
            left -= 1
        start(thread)

    with Store.open(tmp_path / "cache") as store:
        with monkeypatch.context() as limited:
            limited.setattr(threading.Thread, "start", start_some)
            with pytest.raises(OutOfResources, match="thread"):
                bring(registry, store)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("transfer-")]
        assert is_whole(bring(registry, store))
    oracle.check_after_crash(tmp_path / "cache", promises=NO_PROMISES)
