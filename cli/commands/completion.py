"""``warmset completion``: the script by which a shell completes our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL; names of Models, WarmSets and nodes come from the cluster.

    \b
    source <(warmset completion bash)                                     # in ~/.bashrc
    warmset completion fish > ~/.config/fish/completions/warmset.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "warmset", "_WARMSET_COMPLETE").source())
