"""``warmset purge``: a cache off its disk."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from api.errors import InvalidRequest
from cli.local import output_option, root_option, show_json, size_text


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say whether it could go, and how much that gives back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@root_option
@output_option
def command(dry_run: bool, yes: bool, root: Path, output: str) -> None:
    """Remove a cache with all its models: what uninstalling from a node ends with.

    Refused while an agent owns it, a publication is pinned, or a mount of it is left. Files that are not the cache's
    stay, and are named.

    \b
    warmset purge --dry-run --root /var/lib/warmset
    warmset purge --yes --root /var/lib/warmset
    """
    from cache.store.purge import purge

    if not (dry_run or yes):
        if not sys.stdin.isatty():
            raise InvalidRequest("there is nobody to ask", hint="say --yes, or --dry-run to see what would go")
        click.confirm(f"Remove the cache at {root} with all its models?", abort=True, err=True)
    purged = purge(root.absolute(), dry_run=dry_run)
    if output == "json":
        show_json({"root": str(root), "dryRun": dry_run, "bytesFreed": purged.bytes, "kept": list(purged.kept)})
        return
    click.echo(f"{size_text(purged.bytes)} {'would be ' if dry_run else ''}freed")
    for name in purged.kept:
        click.echo(f"kept {root / name}: not the cache's", err=True)
