"""Who fetches what next.

Files go whole to one worker each, largest first, since sha256 is sequential within a file and files hash in parallel.
When there are fewer files than workers, the idle ones help: they take the next chunks in order, so that pieces arrive
near the file's frontier and are hashed from memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

# Chunks of one request where nobody is waiting to help: enough that what a registry does for each does not count, and
# few enough that who becomes free meanwhile finds some left near the frontier.
RUN_CHUNKS = 8


@dataclass(slots=True, eq=False)
class Share:
    """What is left to hand out of one file. Touched only under the schedule's lock."""

    missing: deque[int] = field(default_factory=deque)  # chunk indices, ascending
    streams: int = 0  # workers on it
    single: bool = False  # its source ignores ranges, so one worker streams it all


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks ``first`` to ``last``, inclusive."""

    first: int
    last: int


def take_run(share: Share, *, crowded: bool) -> Run:
    """Take the next chunks of a share that has some: a run of neighbours, or one chunk where others help."""
    limit = len(share.missing) if share.single else RUN_CHUNKS if crowded else 1
    first = last = share.missing.popleft()
    # A single stream passes over chunks that are here already, because it cannot skip them.
    while share.missing and last - first + 1 < limit and (share.single or share.missing[0] == last + 1):
        last = share.missing.popleft()
    return Run(first, last)


def helpable(shares: Iterable[Share]) -> Share | None:
    """The file with most left of those that take another stream."""
    open_ = [s for s in shares if s.missing and not (s.single and s.streams)]
    return max(open_, key=lambda s: len(s.missing), default=None)


T = TypeVar("T")


class Schedule(Generic[T]):
    """Tasks in the order given; a task of a file is opened, then handed out in runs. For any thread."""

    def __init__(self, tasks: Sequence[T], *, workers: int) -> None:
        self._workers = workers
        self._waiting = deque(tasks)
        self._shares: dict[Share, T] = {}
        self._unfinished = len(self._waiting)
        self._stopped = False
        self._changed = threading.Condition()

    def next(self, mine: Share | None) -> T | tuple[T, Share, Run] | None:
        """What the calling worker does now: a task to begin, a run of an open file, or None: all is done.

        ``mine`` is the file it was on, which it keeps to as long as there is something left.
        """
        with self._changed:
            while not self._stopped and self._unfinished:
                share = mine if mine is not None and mine.missing and not (mine.single and mine.streams) else None
                if share is None and self._waiting:
                    return self._waiting.popleft()
                share = share or helpable(self._shares)
                if share is not None:
                    share.streams += 1
                    return self._shares[share], share, take_run(share, crowded=self._unfinished >= self._workers)
                self._changed.wait()
            return None

    def opened(self, task: T, missing: Iterable[int]) -> Share:
        """A file is open and lacks these chunks."""
        share = Share(deque(sorted(missing)))
        with self._changed:
            self._shares[share] = task
            self._changed.notify_all()
        return share

    def left(self, share: Share) -> None:
        """A worker is through with its run."""
        with self._changed:
            share.streams -= 1
            self._changed.notify_all()

    def gave_up_ranges(self, share: Share, run: Run) -> None:
        """The source ignores ranges: put the run back and let one stream do the file."""
        with self._changed:
            share.single = True
            share.missing = deque(sorted({*share.missing, *range(run.first, run.last + 1)}))
            share.streams -= 1
            self._changed.notify_all()

    def finished(self, share: Share | None = None, *, again: T | None = None) -> None:
        """A task is done; or, with ``again``, must be done anew."""
        with self._changed:
            if share is not None:
                self._shares.pop(share, None)
            if again is not None:
                self._waiting.append(again)
            else:
                self._unfinished -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Send every worker home."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
