"""``warmset pull``: a model into the local store, and into a folder."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli.local import open_store, output_option, plain_hosts, root_option, show_json, size_text

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


class Rate(click.ParamType[int]):
    """Bytes per second, such as 50MB or 1GiB."""

    name = "rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).lower().removesuffix("/s").removesuffix("b")
        digits = text.rstrip("kmgi")
        try:
            rate = int(float(digits) * _UNITS[text[len(digits) :]])
        except (ValueError, KeyError, OverflowError):
            rate = 0
        if rate < 1:
            self.fail(f"{value!r} is not a rate; write for example 50MB or 1GiB (a second)", param, ctx)
        return rate


@click.command()
@click.argument("reference")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--include", multiple=True, metavar="GLOB", help="Take only files whose path matches; may be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave files out; may be repeated.")
@click.option("--plain-http", is_flag=True, help="The registry has no TLS.")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Connections at once.")
@click.option("--limit", type=Rate(), help="Most bytes a second to take, such as 50MB.")
@root_option
@output_option
def command(
    reference: str,
    folder: Path | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    plain_http: bool,
    workers: int,
    limit: int | None,
    root: Path,
    output: str,
) -> None:
    """Bring a model into the local store, and into FOLDER.

    Every file is verified while it streams. What is in the store already is not fetched again, and a pull that was
    interrupted goes on where it stopped. FOLDER is made of hard links to the store's read-only files (copies, where it
    is on another filesystem); it appears when it is complete. The path of the model is printed.

    Credentials are those of `docker login`.

    \b
    warmset pull oci://registry.example.com/models/llama:v1
    warmset pull oci://registry.example.com/models/llama:v1 ./llama
    warmset pull --exclude '*.bin' --limit 200MB oci://registry.example.com/models/llama:v1
    warmset pull --plain-http oci://localhost:5000/llama:v1 ./llama
    """
    from api.errors import Cancelled
    from api.reference import parse_reference
    from cache.pull import pull
    from cache.sources import SourceOptions
    from cli.progress import Reporter

    started_s = time.monotonic()
    parsed = parse_reference(reference)
    options = SourceOptions(plain_http=plain_hosts(parsed, plain_http=plain_http), ambient=True)
    try:
        with open_store(root) as store, Reporter(parsed.name) as reporter:
            pulled = pull(
                store,
                parsed,
                options=options,
                include=include,
                exclude=exclude,
                workers=workers,
                on_progress=reporter,
                limit_bps=limit,
                trust_store=True,  # this user's own
                key=str(parsed),
            )
            store.touch(pulled.tree.digest)
            if folder is not None:
                from cache.export import export_tree

                export_tree(store, pulled.tree, folder.absolute())
    except KeyboardInterrupt as interrupt:
        raise Cancelled(
            "interrupted; what has come so far is kept", hint="run the same command again and it goes on from there"
        ) from interrupt
    seconds = time.monotonic() - started_s
    path = pulled.path if folder is None else folder.absolute()
    if output == "json":
        show_json(
            {
                "reference": str(parsed),
                "revision": pulled.revision,
                "tree": str(pulled.tree.digest),
                "path": str(path),
                "files": len(pulled.tree.files),
                "bytes": pulled.tree.size,
                "bytesOrigin": pulled.bytes_origin,
                "bytesReused": pulled.bytes_reused,
                "seconds": round(seconds, 3),
            }
        )
        return
    click.echo(
        f"{parsed} is {pulled.revision}: {len(pulled.tree.files)} files, {size_text(pulled.tree.size)}, of which "
        f"{size_text(pulled.bytes_origin)} from the registry, in {seconds:.1f} s",
        err=True,
    )
    click.echo(str(path))
