"""kill -9 of a real pull of an archive layer, while it is fetched and while it is unpacked: the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache.archives.packing import Packing
from tests.faults import oracle
from tests.support.command import REPOSITORY, warmset_json
from tests.support.fake_registry import FakeRegistry, Fault
from tests.support.layers import layer, manifest

MIB = 1 << 20
CHUNK = 16 * MIB
FILES = {"model.safetensors": os.urandom(34 * MIB), "config.json": b"{}"}
WITHIN_S = 60.0
A_CHUNK = b"WSc1"  # the kind of a journal's record
# The first file of its own to be committed is a large one of the layer.
KILLED_AT_A_FILE = """
import os, signal
from cache.store.staged import Staged
from cli.main import main
Staged.commit = lambda staged: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def serve(registry: FakeRegistry, packing: Packing) -> bytes:
    packed = layer(FILES, packing=packing)
    registry.add_manifest("m/packed", "v1", manifest(registry, packed, packing=packing))
    return packed


def reference(registry: FakeRegistry) -> str:
    return f"oci://{registry.host}/m/packed:v1"


def arguments(registry: FakeRegistry, root: Path) -> list[str]:
    return ["pull", "--plain-http", "--root", str(root), reference(registry)]


def goes_on(registry: FakeRegistry, root: Path) -> int:
    """Pull once more; returns the bytes that this took from the registry."""
    oracle.check_after_crash(root, promises=root.parent / "no promises")
    pulled = warmset_json("pull", "--plain-http", "--root", root, reference(registry))
    tree = Path(pulled["path"])
    assert {path.name: path.read_bytes() for path in tree.iterdir()} == FILES
    oracle.check_after_crash(root, promises=root.parent / "no promises")
    blobs = [path for path in (root / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == len(FILES), "the layer and what was half unpacked are gone"
    return int(pulled["bytesOrigin"])


def journals_a_whole_chunk(root: Path) -> bool:
    """The last chunk is short, so of two at least one is whole."""
    return any(path.read_bytes().count(A_CHUNK) > 1 for path in (root / "ingest").glob("*/chunks.journal"))


def test_chunks_that_came_before_a_kill_are_not_fetched_again(registry: FakeRegistry, in_memory: Path) -> None:
    packed, root = serve(registry, "tar"), in_memory / "cache"
    # Of every request, a chunk and no more.
    registry.faults = [Fault(cut_after=CHUNK, stall=True, times=99)]
    running = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments(registry, root)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + WITHIN_S
        while not journals_a_whole_chunk(root):
            assert running.poll() is None
            assert time.monotonic() < deadline, "no chunk came"
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    registry.faults = []
    assert goes_on(registry, root) <= len(packed) - CHUNK


@pytest.mark.parametrize("packing", ["tar", "tar+zstd"])
def test_a_kill_while_a_file_is_unpacked_costs_no_byte_of_the_network(
    registry: FakeRegistry, in_memory: Path, packing: Packing
) -> None:
    serve(registry, packing)
    root = in_memory / "cache"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_A_FILE, *arguments(registry, root)],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, "not hit: the case proves nothing"
    assert list((root / "scratch").iterdir()), "it was half unpacked"
    assert goes_on(registry, root) == 0
