"""``warmset rm``: a model out of the local store."""

from __future__ import annotations

from pathlib import Path

import click

from api.reference import parse_reference
from cli.local import open_store, output_option, root_option, show_json, size_text


@click.command()
@click.argument("target")
@root_option
@output_option
def command(target: str, root: Path, output: str) -> None:
    """Remove TARGET, a reference or a tree as `warmset ls` shows it, from the local store.

    A reference whose files another reference shares is only forgotten. Folders made by `warmset pull REF FOLDER` keep
    their files, and disk space that they hold is not freed.

    \b
    warmset rm oci://registry.example.com/models/llama:v1
    warmset rm 3f1c9a
    """
    from cache.find import find_tree

    with open_store(root) as store:
        tree = find_tree(store, target)
        by_reference = "://" in target
        key = str(parse_reference(target)) if by_reference else ""
        others = [record for record in store.pull_records() if record.tree == tree and record.key != key]
        if by_reference:
            store.forget(key)
        freed = 0 if by_reference and others else store.remove_tree(tree)
    if output == "json":
        show_json(
            {"tree": str(tree), "bytesFreed": freed, "stillNamed": [r.key for r in others] if by_reference else []}
        )
    elif by_reference and others:
        click.echo(f"{target} is forgotten; its files stay for {others[0].key}")
    else:
        click.echo(f"removed {target}, {size_text(freed)} freed")
