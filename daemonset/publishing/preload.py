"""Reads a published tree ahead into memory, so that an engine's first read finds it there.

On request of a pod (warmset.dev/preload), within the node's limit, one tree at a time, at the lowest I/O priority,
and only while the pod has it mounted. Nothing depends on it: whatever fails is logged, and the kernel may take the
pages back at any time. It charges them to whoever read them first, so the agent's memory limit must leave room for
``limits.preload_bytes`` (the chart adds it).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import structlog

from api.digest import Digest
from api.errors import WarmsetError
from api.tree import Tree
from cache.store import Store
from daemonset.pulling.flight import in_thread

# Read, not fadvised: POSIX_FADV_WILLNEED stops without a word at the device's read-ahead window.
PIECE_BYTES = 4 << 20
# linux/ioprio.h. Where the disk's scheduler knows priorities (mq-deadline, bfq), all other I/O goes first.
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}.get(platform.machine())

log = structlog.get_logger()


class Preload:
    """``ask`` from the event loop that runs ``run``; ``on_bytes`` is told there how much each tree took."""

    def __init__(self, store: Store, *, limit_bytes: int, on_bytes: Callable[[int], None]) -> None:
        self._store = store
        self._limit_bytes = limit_bytes
        self._on_bytes = on_bytes
        self._asked: asyncio.Queue[tuple[Digest, Callable[[], bool]]] = asyncio.Queue()

    def ask(self, tree: Digest, *, wanted: Callable[[], bool]) -> None:
        """Read the tree ahead when its turn comes, as long as ``wanted``."""
        if self._limit_bytes == 0:
            log.info("preload.off", tree=str(tree), hint="set limits.preload_bytes")
        else:
            self._asked.put_nowait((tree, wanted))

    async def run(self) -> NoReturn:
        while True:
            digest, wanted = await self._asked.get()
            cancel = threading.Event()

            def read(
                digest: Digest = digest, wanted: Callable[[], bool] = wanted, cancel: threading.Event = cancel
            ) -> int:
                tree = self._store.tree(digest)
                if tree is None:
                    return 0
                lower_io_priority()
                return read_ahead(
                    tree,
                    root=self._store.tree_path(digest),
                    limit_bytes=self._limit_bytes,
                    wanted=lambda: wanted() and not cancel.is_set(),
                )

            try:
                done = await in_thread(read, cancel=cancel, name="preload")
            except (OSError, WarmsetError) as error:
                log.warning("preload.failed", tree=str(digest), error=str(error))
            else:
                self._on_bytes(done)
                log.info("preload.done", tree=str(digest), bytes=done)


def read_ahead(tree: Tree, *, root: Path, limit_bytes: int, wanted: Callable[[], bool]) -> int:
    """Bytes read: the files in their order, up to the limit or until they are not wanted any more. Raises OSError."""
    buffer = bytearray(PIECE_BYTES)
    done = 0
    for file in tree.files:
        fd = os.open(root / file.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            at = 0
            while at < file.size and wanted():
                room = memoryview(buffer)[: min(PIECE_BYTES, limit_bytes - done)]
                count = os.preadv(fd, [room], at) if room else 0
                if count == 0:
                    return done
                at, done = at + count, done + count
        finally:
            os.close(fd)
    return done


def lower_io_priority() -> None:
    """Of the calling thread. Nothing is lost where the architecture's call is not known here, but other I/O waits."""
    if _IOPRIO_SET is not None:
        ctypes.CDLL(None).syscall(_IOPRIO_SET, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)
