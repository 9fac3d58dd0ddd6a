"""What an agent does beside pulls: reads blobs again, keeps the disk below its watermark, heeds the pause switch."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NoReturn

import structlog

from api.digest import Digest
from api.errors import DiskError, NotFound, WarmsetError
from api.node import VerifyReport
from cache.find import find_tree
from cache.store import Store
from cache.store.blobs import blobs
from cache.store.capacity import Watermarks, what_holds
from cache.store.failures import disk_errors
from cache.store.pause import is_paused
from cache.store.scrub import Found, Scrub
from daemonset.metrics import Metrics
from daemonset.pulling.flight import in_thread
from daemonset.pulling.pulls import Pulls

SWITCH_S = 2.0  # how soon an operator sees that the pause took hold
DISK_S = 30.0  # at 1 GB/s of others' writes, five points of a 1 TB disk take 50 s
AGAIN_S = 3600.0  # after the scrub met a disk that fails
LOWEST = 19  # nice(2)
STALLED_S = 10.0  # a disk under load answers a read of two small files within a second or two
IO_STALLED = "IOStalled"

log = structlog.get_logger()


class Upkeep:
    """Used from one event loop."""

    def __init__(
        self, store: Store, *, pulls: Pulls, metrics: Metrics, scrub_bytes_per_second: int, watermarks: Watermarks
    ) -> None:
        self._store = store
        self._pulls = pulls
        self._metrics = metrics
        self._rate = scrub_bytes_per_second
        self._watermarks = watermarks
        self._lost = ""  # why the root is not what was opened
        self._failing = ""  # why the scrub gave up
        self._asked_at: float | None = None  # since when the disk owes an answer, monotonic

    def trouble(self) -> str:
        """Why the disk is not to be relied upon; empty while it is. Never waits for the disk itself."""
        waited_s = time.monotonic() - self._asked_at if self._asked_at is not None else 0.0
        if waited_s >= STALLED_S:
            return f"{IO_STALLED}: the cache's disk has not answered for {waited_s:.0f} s"
        return self._lost or self._failing

    def jobs(self) -> dict[str, Coroutine[Any, Any, NoReturn]]:
        found = {"pause": self._watch_switch(), "disk": self._watch_disk()}
        return found | ({"scrub": self._scrub()} if self._rate else {})

    async def verify(self, target: str = "") -> VerifyReport:
        """Read every blob now, or those of one tree, as fast as the disk gives them; what is wrong is fetched again.

        Raises NotFound or InvalidRequest for a target that names no tree, or several.
        """
        cancel = threading.Event()
        report = await in_thread(partial(_verify, self._store, target, cancel), cancel=cancel, name="verify")
        await self._found(report.wrong)
        return report

    async def _watch_switch(self) -> NoReturn:
        """In threads of its own: those of to_thread may all hang on the disk that this is about."""
        cancel = threading.Event()
        while True:
            self._asked_at = time.monotonic()
            try:
                paused = await in_thread(partial(_look, self._store), cancel=cancel, name="disk probe")
            except WarmsetError as error:
                self._lost = f"{error.reason}: {error.message}"
            else:
                self._lost = ""
                self._pulls.set_paused(paused)
                self._metrics.paused.set(paused)
            self._asked_at = None
            await asyncio.sleep(SWITCH_S)

    async def _watch_disk(self) -> NoReturn:
        while True:
            await asyncio.sleep(DISK_S)
            try:
                await self._stay_below()
            except WarmsetError as error:
                log.warning("disk.not_relieved", error=str(error))

    async def _stay_below(self) -> None:
        excess = (await asyncio.to_thread(self._store.disk)).excess(self._watermarks)
        if not excess or self._pulls.paused:
            return
        made = await self._pulls.make_room(excess, below=None)
        log.warning(
            "disk.above_watermark",
            bytes_over=excess.bytes,
            bytes_freed=made.freed,
            bytes_missing=made.missing.bytes,
            kept=what_holds(made.kept) if made.missing else "",
        )

    async def _scrub(self) -> NoReturn:
        stop = threading.Event()
        while True:
            scrub = Scrub(self._store, bytes_per_second=self._rate, stop=stop)
            try:
                await self._scrub_on(scrub, stop=stop)
            except WarmsetError as error:
                log.error("scrub.failed", error=str(error))
                if isinstance(error, DiskError):
                    self._failing = f"{error.reason}: {error.message}"
            await asyncio.sleep(AGAIN_S)
            self._failing = ""

    async def _scrub_on(self, scrub: Scrub, *, stop: threading.Event) -> NoReturn:
        while True:
            work = partial(_until_found, scrub, paused=lambda: self._pulls.paused)
            found = await in_thread(work, cancel=stop, name="scrub")
            self._metrics.scrubbed_at.set(scrub.position.finished_at)
            if found is None:
                await asyncio.sleep(SWITCH_S)  # paused
            else:
                log.error("blob.corrupted", digest=str(found.digest), state=found.checked.state)
                await self._found([str(found.digest)])

    async def _found(self, wrong: list[str]) -> None:
        self._metrics.corrupted.inc(len(wrong))
        if wrong:
            await self._pulls.recheck()


def _look(store: Store) -> bool:
    """Is it paused? Raises CacheVolumeLost when the root is no longer the one that was opened, DiskError."""
    store.check()
    return is_paused(store.root)


def _until_found(scrub: Scrub, *, paused: Callable[[], bool]) -> Found | None:
    """None when paused, when told to stop, and at the end of a round."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)  # of this thread alone
    while scrub.wait_for_round() and not paused():
        if (found := scrub.step()) is not None:
            return found
        if not scrub.position.after:
            return None
    return None


def _verify(store: Store, target: str, cancel: threading.Event) -> VerifyReport:
    checked, size, wrong = 0, 0, []
    for digest, length in (_blobs_of(store, target) if target else _all_blobs(store)).items():
        if cancel.is_set():
            break
        found = store.check_blob(digest)
        checked, size = checked + 1, size + length
        if found.state in ("wrong", "unreadable") and store.drop_blob(digest, inode=found.inode):
            log.error("blob.corrupted", digest=str(digest), state=found.state)
            wrong.append(str(digest))
    return VerifyReport(blobs=checked, bytes=size, wrong=wrong)


def _all_blobs(store: Store) -> dict[Digest, int]:
    with disk_errors("listing blobs"):
        return {digest: status.st_size for digest, status in blobs(store.layout)}


def _blobs_of(store: Store, target: str) -> dict[Digest, int]:
    found = find_tree(store, target)
    tree = store.tree(found)
    if tree is None:
        raise NotFound(f"tree {found} is not whole: it is on its way already")
    return tree.blobs
