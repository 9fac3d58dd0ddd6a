"""``warmset push``: a folder as a ModelPack artifact."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli.local import output_option, show_json, size_text


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("reference")
@click.option("--include", multiple=True, metavar="GLOB", help="Take only files whose path matches; may be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave files out; may be repeated.")
@click.option("--mount-from", default="", metavar="REPOSITORY", help="Take what this repository of the registry has.")
@click.option("--plain-http", is_flag=True, help="The registry has no TLS.")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Files at once.")
@output_option
def command(
    folder: Path,
    reference: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    mount_from: str,
    plain_http: bool,
    workers: int,
    output: str,
) -> None:
    """Upload FOLDER as a ModelPack artifact: one raw layer a file.

    Files that the repository has already are not sent again, nor those that --mount-from has. Equal folders make equal
    artifacts. The reference, pinned to its digest, is printed.

    Credentials are those of `docker login`.

    \b
    warmset push ./llama oci://registry.example.com/models/llama:v1
    warmset push --exclude '*.bin' ./llama oci://registry.example.com/models/llama:v1
    warmset push --mount-from models/llama ./llama-tuned oci://registry.example.com/team/llama-tuned:v1
    warmset push --plain-http ./llama oci://localhost:5000/llama:v1
    """
    from api.errors import Cancelled
    from api.reference import parse_reference
    from cache.push import push
    from cli.progress import Reporter
    from cli.settings import user_options

    started_s = time.monotonic()
    parsed = parse_reference(reference)
    options = user_options(parsed, plain_http=plain_http)
    try:
        with Reporter(parsed.name) as reporter:
            pushed = push(
                folder,
                parsed,
                options=options,
                include=include,
                exclude=exclude,
                mount_from=mount_from,
                workers=workers,
                on_progress=reporter,
            )
    except KeyboardInterrupt as interrupt:
        raise Cancelled(
            "interrupted; files that were sent whole are kept", hint="run the same command again"
        ) from interrupt
    seconds = time.monotonic() - started_s
    if output == "json":
        show_json(
            {
                "reference": str(parsed),
                "revision": pushed.revision,
                "tree": str(pushed.tree.digest),
                "files": len(pushed.tree.files),
                "bytes": pushed.tree.size,
                "bytesSent": pushed.bytes_sent,
                "seconds": round(seconds, 3),
            }
        )
        return
    click.echo(
        f"{parsed}: {len(pushed.tree.files)} files, {size_text(pushed.tree.size)}, of which "
        f"{size_text(pushed.bytes_sent)} sent, in {seconds:.1f} s",
        err=True,
    )
    click.echo(f"{parsed}@{pushed.revision}")
