"""``warmset resume``: the end of a pause."""

from __future__ import annotations

from pathlib import Path

import click

from cli.local import root_option


@click.command()
@root_option
def command(root: Path) -> None:
    """End what `warmset pause` began.

    \b
    warmset resume --root /var/lib/warmset
    """
    from cache.store.pause import pause

    changed = pause(root.absolute(), paused=False)
    click.echo(f"{root} {'goes on' if changed else 'was not paused'}", err=True)
