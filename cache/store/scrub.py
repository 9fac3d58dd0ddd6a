"""Scrub: reads every blob again, slowly, to find bytes that rotted after they were verified.

Blobs are taken in the order of their names, which neither times nor sizes change. The record says which one was begun
last, so that a restart goes on behind it: an owner that is restarted more often than a large blob takes still gets to
the others, and comes to that one in the next round. The record is a hint; without it a round begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

import msgspec

from api.digest import Digest
from api.errors import DiskError
from cache.store.failures import disk_errors
from cache.store.files import replace_durably
from cache.store.store import Checked, Store

SHARDS = tuple(f"{n:02x}" for n in range(256))
# A disk that rots does so over months. Reading a small cache again and again would only wear it.
ROUND_S = 86400.0
SAVE_S = 30.0  # most that is read again after a restart, beside the blob that was being read
# So many unreadable blobs on end are a disk that fails, not bits that rot: emptying the cache would help nobody.
MAX_UNREADABLE = 3


class Position(msgspec.Struct, frozen=True):
    """``after`` is the name of the blob that was begun last, empty at a round's start; times are Unix, seconds."""

    after: str = ""
    began_at: float = 0.0
    finished_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """A blob that is not what it should be, now in quarantine."""

    digest: Digest
    checked: Checked


def next_blob(listing: Callable[[str], Sequence[str]], *, after: str) -> str | None:
    """The first name behind ``after``; None at the end. ``listing`` gives the names in one of SHARDS."""
    for shard in SHARDS:
        if shard >= after[:2] and (behind := [name for name in listing(shard) if name > after]):
            return min(behind)
    return None


def round_due_in_s(position: Position, *, now: float) -> float:
    """Seconds until the next round begins; 0 within one, and when the clock was set back."""
    if position.after or not 0.0 <= now - position.began_at < ROUND_S:
        return 0.0
    return position.began_at + ROUND_S - now


class Scrub:
    """One thread's. ``bytes_per_second`` holds over any second; ``stop`` ends a wait, and the scrub, at once."""

    def __init__(self, store: Store, *, bytes_per_second: int, stop: Event) -> None:
        self._store = store
        self._rate = bytes_per_second
        self._stop = stop
        self._record = store.layout.scrub
        self.position = self._read()
        self._saved_at = 0.0
        self._unreadable = 0
        self._due_at = 0.0

    def wait_for_round(self) -> bool:
        """Wait until a round is due or under way; False when told to stop."""
        return not self._stop.wait(round_due_in_s(self.position, now=time.time()))

    def step(self) -> Found | None:
        """Check the next blob; what is wrong goes to quarantine. None when it is right, or the round is over.

        Raises DiskError when the disk fails rather than rots.
        """
        name = next_blob(self._names, after=self.position.after)
        if name is None:
            self._move(msgspec.structs.replace(self.position, after="", finished_at=time.time()), now=True)
            return None
        began_at = self.position.began_at if self.position.after else time.time()
        self._move(Position(after=name, began_at=began_at, finished_at=self.position.finished_at))
        return self._check(Digest(name))

    def _check(self, digest: Digest) -> Found | None:
        try:
            checked = self._store.check_blob(digest, on_bytes=self._pace)
        except _Stopped:
            return None
        if checked.state == "unreadable":
            self._unreadable += 1
            if self._unreadable > MAX_UNREADABLE:
                raise DiskError(
                    f"{self._unreadable} blobs on end cannot be read, {digest} the last",
                    hint="the disk fails; see the kernel log, then replace it",
                )
        elif checked.state != "absent":
            self._unreadable = 0
        if checked.state in ("right", "absent") or not self._store.drop_blob(digest, inode=checked.inode):
            return None
        return Found(digest, checked)

    def _pace(self, count: int) -> None:
        now = time.monotonic()
        self._due_at = max(self._due_at, now) + count / self._rate
        if self._stop.wait(self._due_at - now):
            raise _Stopped

    def _names(self, shard: str) -> list[str]:
        with disk_errors("listing blobs"):
            return [path.name for path in (self._store.layout.blobs / shard).iterdir() if len(path.name) == 64]

    def _move(self, position: Position, *, now: bool = False) -> None:
        self.position = position
        if now or time.monotonic() - self._saved_at >= SAVE_S:
            self._saved_at = time.monotonic()
            with disk_errors("recording the scrub"):
                replace_durably(self._record, msgspec.json.encode(position), scratch=self._store.layout.scratch)

    def _read(self) -> Position:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Position)
        except (FileNotFoundError, msgspec.MsgspecError):
            return Position()


class _Stopped(Exception):
    """Told to stop in the middle of a blob."""
