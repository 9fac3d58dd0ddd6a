"""``warmset verify``: the bytes on disk against their digests."""

from __future__ import annotations

from pathlib import Path

import click

from cli.local import find_tree, open_store, output_option, root_option, show_json, size_text


@click.command()
@click.argument("target", required=False)
@root_option
@output_option
def command(target: str | None, root: Path, output: str) -> None:
    """Check stored models byte by byte: all of them, or TARGET, a reference or a tree as `warmset ls` shows it.

    Ends with exit code 7 when a file is not what it should be.

    \b
    warmset verify
    warmset verify oci://registry.example.com/models/llama:v1
    warmset verify 3f1c9a
    """
    from api.errors import DigestMismatch
    from cache.transfer.progress import Meter
    from cli.progress import Reporter

    wrong: list[tuple[str, str]] = []
    with open_store(root) as store:
        chosen = [find_tree(store, target)] if target else store.trees()
        known = [(digest, store.tree(digest)) for digest in chosen]
        total = sum(tree.size for _, tree in known if tree)
        meter = Meter(bytes_total=total, files_total=len(chosen))
        with Reporter("verify") as reporter:

            def tick(count: int) -> None:
                meter.reused(count)
                reporter(meter.snapshot())

            for digest, _ in known:
                wrong += [(str(digest), file.path) for file in store.verify_tree(digest, on_bytes=tick)]
                meter.finished()
    if output == "json":
        show_json({"trees": len(chosen), "bytes": total, "wrong": [{"tree": t, "path": p} for t, p in wrong]})
    else:
        for tree, path in wrong:
            click.echo(f"wrong: {tree} {path}")
    if wrong:
        raise DigestMismatch(
            f"{len(wrong)} files are not what they should be",
            hint=f"warmset rm {wrong[0][0][:19]}, then pull it again; and look after the disk",
        )
    if output == "text":
        click.echo(f"{len(chosen)} models, {size_text(total)}: all bytes are right")
