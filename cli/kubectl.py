"""``kubectl_complete-warmset``: kubectl asks it for completions of ``kubectl warmset …``.

It is called with the words after ``kubectl warmset``, the last being the one to complete, and answers one completion a
line and then a directive (kubernetes.io, "Extend kubectl with plugins"; cobra's ShellCompDirective).
"""

from __future__ import annotations

import sys

import click
from click.shell_completion import ShellComplete

from cli.main import warmset

_NO_FILES = ":4"  # cobra: what we say is all there is; do not offer file names


def main() -> None:
    words = sys.argv[1:] or [""]
    completer = ShellComplete(warmset, {}, "warmset", "_WARMSET_COMPLETE")
    for item in completer.get_completions(words[:-1], words[-1]):
        click.echo(item.value)
    click.echo(_NO_FILES)
