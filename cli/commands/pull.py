"""``warmset pull``: a model into the local store, and into a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import click

from cli.amounts import Rate
from cli.local import SAME_MODEL_S, open_store, output_option, root_option


@click.command()
@click.argument("reference")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--include", multiple=True, metavar="GLOB", help="Take only files whose path matches; may be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave files out; may be repeated.")
@click.option(
    "--layout",
    type=click.Choice(["plain", "hf"]),
    default="plain",
    show_default=True,
    help="hf: as the Hub's cache, for HF_HUB_CACHE.",
)
@click.option("--allow-executable", is_flag=True, help="Take formats that run code when loaded: .bin, .pt, .py, ….")
@click.option("--platform", default="", metavar="OS/ARCH", help="Which image of a multi-platform one, as linux/amd64.")
@click.option("--artifact-type", default="", metavar="TYPE", help="Which artifact of an index, by its artifactType.")
@click.option("--plain-http", is_flag=True, help="The source has no TLS.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Connections at once; for hundreds of small files up to four times as many.",
)
@click.option("--limit", type=Rate(), help="Most bytes a second to take, such as 50MB.")
@root_option
@output_option
def command(
    reference: str,
    folder: Path | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    layout: Literal["plain", "hf"],
    allow_executable: bool,
    platform: str,
    artifact_type: str,
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

    Credentials are those of `docker login`; for hf:// those of HF_TOKEN or `hf auth login`, for object stores those
    of the cloud's own environment.

    With --layout hf, `HF_HUB_CACHE=FOLDER HF_HUB_OFFLINE=1` lets from_pretrained("org/name") find the model.

    \b
    warmset pull oci://registry.example.com/models/llama:v1
    warmset pull oci://registry.example.com/models/llama:v1 ./llama
    warmset pull --exclude '*.bin' --limit 200MB oci://registry.example.com/models/llama:v1
    warmset pull --layout hf hf://sentence-transformers/all-MiniLM-L6-v2 ./hub
    warmset pull --plain-http oci://localhost:5000/llama:v1 ./llama
    """
    from api.errors import Cancelled
    from api.reference import parse_reference
    from cache.origin import Origin
    from cache.pull import pull
    from cache.sources.artifact import Filter
    from cache.transfer.throttle import Rate as ByteRate
    from cli.progress import Reporter
    from cli.settings import user_options
    from cli.told import tell_pulled

    started_s = time.monotonic()
    parsed = parse_reference(reference)
    options = user_options(parsed, plain_http=plain_http, platform=platform, artifact_type=artifact_type)
    try:
        with open_store(root, make=True, wait_s=SAME_MODEL_S) as store, Reporter(parsed.name) as reporter:
            pulled = pull(
                store,
                parsed,
                options=options,
                include=include,
                exclude=exclude,
                layout=layout,
                allow_executable=allow_executable,
                workers=workers,
                on_progress=reporter,
                limit=None if limit is None else ByteRate(limit),
                trust_store=True,  # this user's own
                key=str(Origin(parsed, Filter(include, exclude), layout)),
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
    tell_pulled(parsed, pulled, path=path, seconds=seconds, output=output)
