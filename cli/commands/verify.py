"""``warmset verify``: the bytes on disk against their digests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.digest import Digest
from api.text import one_line
from cli.agent import ask, socket_option
from cli.local import open_store, output_option, root_option, show_json, size_text

if TYPE_CHECKING:
    from api.tree import TreeFile
    from cache.store.store import Store
    from cache.transfer.progress import Progress


@click.command()
@click.argument("target", required=False)
@click.option("--repair", is_flag=True, help="Put wrong files into quarantine and fetch just those again.")
@click.option("--plain-http", is_flag=True, help="With --repair: the registry has no TLS.")
@root_option
@socket_option(default=None, help="Let the agent that owns the cache do it, who is asked here.")
@output_option
def command(target: str | None, repair: bool, plain_http: bool, root: Path, socket: Path | None, output: str) -> None:
    """Check stored models byte by byte: all of them, or TARGET: a reference, a revision, a tree as `warmset ls` shows
    it, or a model as `warmset node` does.

    Ends with exit code 7 when a file is not what it should be and was not repaired. --repair fetches it again from
    where the model came from; a process that has the old file open keeps it. An agent repairs in any case, and ends
    with 7 all the same, since bytes on its disk had changed.

    \b
    warmset verify
    warmset verify --repair oci://registry.example.com/models/llama:v1
    warmset verify 3f1c9a
    warmset verify --socket /run/warmset/agent.sock
    """
    if socket is not None:
        _by_agent(socket, target or "", output=output)
    else:
        _here(root, target, repair=repair, plain_http=plain_http, output=output)


def _by_agent(socket: Path, target: str, *, output: str) -> None:
    from api.errors import Corrupted
    from api.node import VerifyReport

    # It takes as long as the disk does.
    report = ask(socket, "verify", VerifyReport, method="POST", params={"target": target}, timeout_s=None)
    if output == "json":
        show_json({"blobs": report.blobs, "bytes": report.bytes, "wrong": report.wrong})
    else:
        click.echo(f"{report.blobs} blobs, {size_text(report.bytes)} read")
        for digest in report.wrong:
            click.echo(f"wrong: {digest}")
    if report.wrong:
        raise Corrupted(f"{len(report.wrong)} blobs had rotted", hint="they are fetched again; look after the disk")


def _here(root: Path, target: str | None, *, repair: bool, plain_http: bool, output: str) -> None:
    from api.errors import Corrupted
    from cache.find import find_tree
    from cache.transfer.progress import Meter
    from cli.progress import Reporter

    with open_store(root) as store:
        chosen = [find_tree(store, target)] if target else store.trees()
        known = [(digest, store.tree(digest)) for digest in chosen]
        total = sum(tree.size for _, tree in known if tree)
        meter = Meter(bytes_total=total, files_total=len(chosen))
        wrong: dict[Digest, list[TreeFile]] = {}
        with Reporter("verify") as reporter:

            def tick(count: int) -> None:
                meter.reused(count)
                reporter(meter.snapshot())

            for digest in chosen:
                if files := store.verify_tree(digest, on_bytes=tick):
                    wrong[digest] = files
                meter.finished()
            repaired = _repair(store, wrong, plain_http=plain_http, on_progress=reporter) if repair else {}
    rows = [{"tree": str(tree), "path": file.path} for tree, files in wrong.items() for file in files]
    if output == "json":
        fetched = [{"tree": str(tree), "bytesOrigin": count} for tree, count in repaired.items()]
        show_json({"trees": len(chosen), "bytes": total, "wrong": rows, "repaired": fetched})
    else:
        for row in rows:
            click.echo(f"wrong: {row['tree']} {one_line(str(row['path']), limit=4096)}")
        for tree, count in repaired.items():
            click.echo(f"repaired: {tree}, {size_text(count)} fetched")
    if wrong and not repair:
        raise Corrupted(
            f"{len(rows)} files are not what they should be", hint="warmset verify --repair fetches them again"
        )
    if output == "text" and not wrong:
        click.echo(f"{len(chosen)} models, {size_text(total)}: all bytes are right")


def _repair(
    store: Store,
    wrong: dict[Digest, list[TreeFile]],
    *,
    plain_http: bool,
    on_progress: Callable[[Progress], None],
) -> dict[Digest, int]:
    """Bytes fetched for each tree."""
    from cache.repair import pull_again, quarantine_wrong
    from cli.settings import user_options

    for files in wrong.values():  # all of them first: two trees may share a blob
        quarantine_wrong(store, files)
    return {
        tree: pull_again(
            store,
            tree,
            options=lambda reference: user_options(reference, plain_http=plain_http),
            on_progress=on_progress,
        ).bytes_origin
        for tree in wrong
    }
