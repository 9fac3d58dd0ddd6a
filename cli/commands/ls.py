"""``warmset ls``: what is in the local store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.amounts import ago
from cli.local import open_store, output_option, root_option, show_json, size_text


@click.command()
@root_option
@output_option
def command(root: Path, output: str) -> None:
    """List the models in the local store.

    \b
    warmset ls
    warmset ls -o json
    """
    with open_store(root) as store:
        records = store.pull_records()
        names: dict[str, list[Any]] = {str(tree): [] for tree in store.trees()}
        for record in records:
            names[str(record.tree)].append(record)
        rows = []
        for digest in store.trees():
            tree = store.tree(digest)
            row = {
                "tree": str(digest),
                "intact": tree is not None,
                "files": len(tree.files) if tree else 0,
                "bytes": tree.size if tree else 0,
                "lastUsed": store.last_used(digest),
                "path": str(store.tree_path(digest)),
            }
            named = names[str(digest)]
            rows += [{"reference": r.key, "revision": r.revision, **row} for r in named]
            if not named:
                rows.append({"reference": "", "revision": "", **row})
    if output == "json":
        show_json(rows)
        return
    table = [("REFERENCE", "TREE", "FILES", "SIZE", "USED")] + [
        (
            str(row["reference"] or "-"),
            str(row["tree"]).removeprefix("sha256:")[:12],
            str(row["files"]),
            size_text(row["bytes"]) if row["intact"] else "damaged",
            ago(row["lastUsed"]),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
