"""Reading ahead into memory: what is read, how much, and when it stops."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import threading
from pathlib import Path

import pytest

from api.digest import Digest
from api.errors import DiskError
from api.node import PublishRequest
from api.tree import Tree, TreeFile
from cache.store import Store
from daemonset.publishing import preload
from daemonset.publishing.preload import PIECE_BYTES, Preload, read_ahead
from tests.unit.daemonset.doubles import Node, eventually, wanted

ID = "a" * 64
SIZES = {"a.safetensors": PIECE_BYTES + 7, "b/empty": 0, "c.safetensors": PIECE_BYTES // 2}
TOTAL = sum(SIZES.values())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size in SIZES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return tmp_path / "tree"


@pytest.fixture
def tree() -> Tree:
    return Tree.of([TreeFile(name, size, Digest(f"{size:064x}")) for name, size in SIZES.items()])


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the reads."""
    seen: list[int] = []
    real = os.preadv

    def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
        seen.append(len(buffers[0]))
        return real(fd, buffers, offset)

    monkeypatch.setattr(preload.os, "preadv", preadv)
    return seen


def test_every_byte_is_read_in_pieces(tree: Tree, folder: Path, pieces: list[int]) -> None:
    assert read_ahead(tree, root=folder, limit_bytes=1 << 40, wanted=lambda: True) == TOTAL
    assert max(pieces) <= PIECE_BYTES


@pytest.mark.parametrize("limit", [1, PIECE_BYTES, PIECE_BYTES + 8, TOTAL])
def test_never_more_than_the_limit(tree: Tree, folder: Path, pieces: list[int], limit: int) -> None:
    assert read_ahead(tree, root=folder, limit_bytes=limit, wanted=lambda: True) == limit


def test_it_stops_within_a_piece_when_nobody_wants_it_any_more(tree: Tree, folder: Path, pieces: list[int]) -> None:
    assert read_ahead(tree, root=folder, limit_bytes=1 << 40, wanted=lambda: not pieces) == PIECE_BYTES


def test_a_file_that_is_gone_is_an_os_error(tree: Tree, folder: Path) -> None:
    (folder / "a.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        read_ahead(tree, root=folder, limit_bytes=1 << 40, wanted=lambda: True)


def test_the_thread_that_reads_ahead_has_idle_priority_and_no_other(tmp_path: Path) -> None:
    """ioprio_get(2): class 3, idle, is 3 << 13."""
    number = {"x86_64": 252, "aarch64": 31}.get(platform.machine())
    if number is None:
        pytest.skip("the number of ioprio_get is not known for this machine")
    found: list[int] = []

    def body() -> None:
        preload.lower_io_priority()
        found.append(ctypes.CDLL(None).syscall(number, 1, 0))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [3 << 13]
    assert ctypes.CDLL(None).syscall(number, 1, 0) != 3 << 13


# -- for a pod --------------------------------------------------------------------------------------------------


def ask(*, preload: bool) -> PublishRequest:
    return PublishRequest(
        id=ID, model="default/llama", namespace="default", pod="p", pod_uid="u", wait_s=2.0, preload=preload
    )


@pytest.mark.parametrize(("asked", "read"), [(True, 71), (False, 0)])
async def test_a_pod_that_asks_gets_its_tree_read_ahead(node: Node, asked: bool, read: int) -> None:
    done: list[int] = []
    node.preload = Preload(node.store, limit_bytes=1 << 30, on_bytes=done.append)
    reading = asyncio.create_task(node.preload.run())
    node.pulls.set_desired([wanted("llama")])
    await node.publications().publish(ask(preload=asked))
    if asked:
        await eventually(lambda: done)
    else:
        await asyncio.sleep(0.05)
    assert sum(done) == read
    reading.cancel()
    await asyncio.wait([reading])


async def test_a_disk_that_fails_ends_one_preload_and_not_the_agent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    reader = Preload(store, limit_bytes=1 << 30, on_bytes=done.append)
    answers = iter([DiskError("EIO"), None])

    def tree(digest: Digest) -> None:
        if error := next(answers):
            raise error

    monkeypatch.setattr(store, "tree", tree)
    for _ in range(2):
        reader.ask(Digest("0" * 64), wanted=lambda: True)
    reading = asyncio.create_task(reader.run())
    await eventually(lambda: done or reading.done())
    assert done == [0]
    reading.cancel()
    await asyncio.wait([reading])


async def test_a_tree_that_is_gone_by_its_turn_is_left(store: Store) -> None:
    done: list[int] = []
    reader = Preload(store, limit_bytes=1 << 30, on_bytes=done.append)
    reader.ask(Digest("0" * 64), wanted=lambda: True)
    reading = asyncio.create_task(reader.run())
    await eventually(lambda: done)
    assert done == [0]
    reading.cancel()
    await asyncio.wait([reading])
