"""``warmset import``: weights that already lie on this machine into the local store."""

from __future__ import annotations

from pathlib import Path

import click

from api.text import one_line
from cli.local import SAME_MODEL_S, open_store, output_option, root_option, show_json, size_text


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("reference", required=False)
@click.option(
    "--hard-link",
    is_flag=True,
    help="Share the very files instead of copying them: they become read-only, and whoever changes one later changes "
    "what the store serves as verified. Only for files that nobody writes any more.",
)
@click.option("--allow-executable", is_flag=True, help="Take formats that run code when loaded: .bin, .pt, .py, ….")
@click.option("--plain-http", is_flag=True, help="The registry has no TLS.")
@root_option
@output_option
def command(
    folder: Path,
    reference: str | None,
    hard_link: bool,
    allow_executable: bool,
    plain_http: bool,
    root: Path,
    output: str,
) -> None:
    """Take the files of FOLDER into the local store, so that they need not be fetched.

    With REFERENCE, each file is hashed and compared with what the reference lists; what FOLDER lacks or has otherwise
    is fetched, and the model is then stored as if it had been pulled. Without, FOLDER becomes a model of its own.

    Files are shared by reflink where the filesystem can (XFS, Btrfs), else copied.

    \b
    warmset import /data/llama oci://registry.example.com/models/llama:v1
    warmset import /data/my-finetune
    """
    from api.reference import parse_reference
    from cache.importing import import_known, import_new
    from cache.pull import pull
    from cli.progress import Reporter
    from cli.settings import user_options

    folder = folder.absolute()
    with open_store(root, make=True, wait_s=SAME_MODEL_S) as store:
        if reference is None:
            tree = import_new(store, folder, hard_link=hard_link)
            report = {"reference": folder.as_uri(), "taken": len(tree.files), "different": [], "bytesOrigin": 0}
        else:
            parsed = parse_reference(reference)
            options = user_options(parsed, plain_http=plain_http)
            taken = import_known(store, folder, parsed, options=options, hard_link=hard_link)
            for name in taken.different:
                click.echo(f"{one_line(name, limit=4096)} is not what {reference} lists: fetching it", err=True)
            with Reporter("import") as reporter:
                pulled = pull(
                    store,
                    parsed,
                    options=options,
                    allow_executable=allow_executable,
                    on_progress=reporter,
                    trust_store=True,
                    key=str(parsed),
                )
            tree = pulled.tree
            report = {
                "reference": str(parsed),
                "taken": taken.files,
                "different": list(taken.different),
                "bytesOrigin": pulled.bytes_origin,
            }
        path = store.tree_path(tree.digest)
    if output == "json":
        show_json({**report, "tree": str(tree.digest), "path": str(path), "bytes": tree.size})
        return
    click.echo(f"{report['taken']} files taken, {size_text(tree.size)} in all", err=True)
    click.echo(str(path))
