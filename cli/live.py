"""``--watch``: the same lines again whenever they have changed; on a terminal in place, elsewhere one below another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import click

EVERY_S = 1.0

Look = Callable[[], Awaitable[Sequence[str]]]


async def watch(look: Look, *, terminal: bool | None = None, every_s: float = EVERY_S) -> NoReturn:
    """Until interrupted. What ``look`` raises ends it."""
    if sys.stdout.isatty() if terminal is None else terminal:
        await _in_place(look, every_s=every_s)
    seen: Sequence[str] | None = None
    while True:
        lines = await look()
        if lines != seen:
            for line in ("", *lines) if seen else lines:
                click.echo(line)
            seen = lines
        await asyncio.sleep(every_s)


async def _in_place(look: Look, *, every_s: float) -> NoReturn:
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(Text("\n".join(await look()), no_wrap=True, overflow="ellipsis"), refresh=True)
            await asyncio.sleep(every_s)
