"""The live picture of the group: a table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.group import NodeView

PLAIN_EVERY_S = 3.0
MIB = 1 << 20


class Speeds:
    """Bytes per second of each node, smoothed over the last seconds."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}
        self._speed: dict[str, float] = {}

    def update(self, view: NodeView) -> float:
        now = time.monotonic()
        then, done = self._last.get(view.name, (now, view.done))
        if now - then >= 0.5 or view.name not in self._last:
            fresh = (view.done - done) / (now - then) if now > then else 0.0
            before = self._speed.get(view.name, fresh)
            self._speed[view.name] = 0.5 * before + 0.5 * fresh
            self._last[view.name] = (now, view.done)
        return 0.0 if view.ready else self._speed.get(view.name, 0.0)


def follow(
    console: Console, look: Callable[[], Sequence[NodeView]], *, done: Callable[[Sequence[NodeView]], bool]
) -> Sequence[NodeView]:
    """Show what ``look`` sees until ``done`` says so; return the last look."""
    speeds = Speeds()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8) as live:
            while True:
                views = look()
                live.update(_table(views, speeds))
                if done(views):
                    return views
                time.sleep(0.1)
    shown = 0.0
    while True:
        views = look()
        finished = done(views)
        if finished or time.monotonic() - shown >= PLAIN_EVERY_S:
            shown = time.monotonic()
            print("  ".join(f"{v.name} {v.state} {_percent(v)}" for v in views), flush=True)  # noqa: T201
        if finished:
            return views
        time.sleep(0.1)


def _table(views: Sequence[NodeView], speeds: Speeds) -> Table:
    table = Table("node", "state", "bytes", "speed", "source", "ETA")
    for view in views:
        speed = speeds.update(view)
        left = view.total - view.done
        table.add_row(
            view.name,
            view.state + (f" ({view.reason})" if view.reason and not view.ready else ""),
            f"{view.done / MIB:,.0f} / {view.total / MIB:,.0f} MiB ({_percent(view)})",
            f"{speed / MIB:,.0f} MiB/s" if speed else "",
            source_split(view),
            f"{left / speed:.0f} s" if speed > MIB / 10 and left else "",
        )
    return table


def source_split(view: NodeView) -> str:
    parts = [f"{size / MIB:,.0f} MiB {name}" for name, size in (("origin", view.origin), ("peers", view.peers)) if size]
    return ", ".join(parts) or ("own disk" if view.ready else "")


def _percent(view: NodeView) -> str:
    return f"{100 * view.done // view.total}%" if view.total else "0%"
