"""Progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

import click

from cache.transfer.progress import Progress
from cli.local import size_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

LINE_EVERY_S = 5.0


class Reporter:
    """Used as a context manager around one transfer; called with each Progress. Draws nothing before the first call,
    so that a warm hit does not pay for it."""

    def __init__(self, what: str, *, terminal: bool | None = None) -> None:
        self._what = what
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._stack = ExitStack()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._started_s = time.monotonic()
        self._next_line_s = self._started_s + LINE_EVERY_S

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def __call__(self, progress: Progress) -> None:
        if self._terminal:
            self._draw(progress)
        elif time.monotonic() >= self._next_line_s:
            self._next_line_s += LINE_EVERY_S
            click.echo(self.line(progress), err=True)

    def line(self, progress: Progress) -> str:
        """One line: done, of how much, how fast since the start."""
        seconds = max(time.monotonic() - self._started_s, 0.001)
        share = progress.bytes_done / progress.bytes_total if progress.bytes_total else 1.0
        return (
            f"{self._what}: {share:.0%}, {size_text(progress.bytes_done)} of {size_text(progress.bytes_total)}, "
            f"{size_text(progress.bytes_done / seconds)}/s, {progress.files_done} of {progress.files_total} files"
        )

    def _draw(self, progress: Progress) -> None:
        if self._bar is None or self._task is None:
            self._bar, self._task = self._open(progress.bytes_total)
        files = f"{progress.files_done}/{progress.files_total} files"
        self._bar.update(self._task, completed=progress.bytes_done, total=progress.bytes_total, files=files)

    def _open(self, total: int) -> tuple[Bar, TaskID]:
        from rich import progress as bars
        from rich.console import Console

        bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.DownloadColumn(binary_units=True),
            bars.TransferSpeedColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[files]}"),
            console=Console(stderr=True),
        )
        self._stack.enter_context(bar)
        return bar, bar.add_task(self._what, total=total, files="")
