"""One pull under way: a thread that moves bytes, and what the event loop can see of it.

The thread only stores whole Progress values and tells how it ended; everything else belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from api.resources import NodeModelStatus
from cache.exhaustion import exhaustion
from cache.transfer.progress import Progress
from daemonset.pulling.desired import Desired

STALLED_AFTER_S = 30.0
STOP_S = 5.0  # longest wait at shutdown for a thread that was told to end; kubelet gives the pod 30 s

T = TypeVar("T")
log = structlog.get_logger()


class Flight:
    """``told`` is called by the pull's threads, all other methods by the event loop."""

    def __init__(self, desired: Desired, *, origin_before: int, peers_before: int, trouble: str) -> None:
        self.desired = desired
        self.cancel = threading.Event()
        self.progress: Progress | None = None
        self.started_at = time.monotonic()
        self._moved_at = self.started_at
        self._was_stalled = False
        self._counted = {"origin": 0, "peers": 0}
        # Bytes of earlier attempts count: a status tells what this model cost, not what its last retry did.
        self._origin_before = origin_before
        self._peers_before = peers_before
        self._trouble = trouble

    def __repr__(self) -> str:
        done = f"{self.progress.bytes_done}/{self.progress.bytes_total}" if self.progress else "no bytes yet"
        return f"Flight({self.desired.key}, {done})"

    def told(self, progress: Progress) -> None:
        before = self.progress
        self.progress = progress
        if before is None or (progress.bytes_done, progress.files_done) != (before.bytes_done, before.files_done):
            self._moved_at = time.monotonic()

    @property
    def bytes_origin(self) -> int:
        return self._origin_before + (self.progress.bytes_origin if self.progress else 0)

    @property
    def bytes_peers(self) -> int:
        return self._peers_before + (self.progress.bytes_peers if self.progress else 0)

    def stalled(self, now: float) -> bool:
        return now - self._moved_at >= STALLED_AFTER_S

    @property
    def progressed(self) -> bool:
        return self.progress is not None and self.progress.bytes_origin + self.progress.bytes_peers > 0

    def turned(self, now: float) -> bool:
        """Did it stall, or move again, since the last call?"""
        before, self._was_stalled = self._was_stalled, self.stalled(now)
        return before != self._was_stalled

    def uncounted(self) -> dict[str, int]:
        """Bytes by source that arrived since the last call."""
        now = {"origin": 0, "peers": 0}
        if self.progress is not None:
            now = {"origin": self.progress.bytes_origin, "peers": self.progress.bytes_peers}
        new = {source: max(0, count - self._counted[source]) for source, count in now.items()}
        self._counted = now
        return new

    def status(self, now: float) -> NodeModelStatus:
        if self.stalled(now):
            reason, message = "Stalled", f"no bytes for {STALLED_AFTER_S:.0f} s"
        elif not self.progressed:
            # What made the last attempt fail stays until this one moves: the state must not flap with each retry.
            reason, message = self._trouble, ""
        else:
            reason, message = "", ""
        return NodeModelStatus(
            model=self.desired.model,
            revision=self.desired.revision,
            state="Pulling",
            bytes_done=self.progress.bytes_done if self.progress else 0,
            bytes_total=self.progress.bytes_total if self.progress else 0,
            bytes_origin=self.bytes_origin,
            bytes_peers=self.bytes_peers,
            reason=reason,
            message=message,
        )


async def in_thread(work: Callable[[], T], *, cancel: threading.Event, name: str) -> T:
    """Run ``work`` in a thread of its own and wait for it.

    Cancelling the waiting task sets ``cancel`` and waits up to STOP_S seconds. The thread is a daemon: one that hangs
    in a system call must not keep the process from ending; the store's journal lets the next process go on.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def report(result: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(report, result, failure)

    with exhaustion(name):
        threading.Thread(target=body, name=name, daemon=True).start()
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        cancel.set()
        _, running = await asyncio.wait([outcome], timeout=STOP_S)
        if running:
            log.error("pull.abandoned", thread=name, waited_s=STOP_S)
        elif not outcome.cancelled():
            outcome.exception()  # looked at, so that asyncio does not report it as never retrieved
        raise
