"""``warmset pause``: no pulls and no evictions until ``warmset resume``."""

from __future__ import annotations

from pathlib import Path

import click

from cli.local import root_option


@click.command()
@root_option
def command(root: Path) -> None:
    """Let a cache begin no pull and evict nothing. Models that are there go on being mounted; a pull under way ends.

    Works while an agent owns the cache, which sees it within seconds.

    \b
    warmset pause --root /var/lib/warmset
    """
    from cache.store.pause import pause

    changed = pause(root.absolute(), paused=True)
    click.echo(f"{root} {'is paused now' if changed else 'was paused already'}; warmset resume ends it", err=True)
