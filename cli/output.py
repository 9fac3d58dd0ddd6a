"""How the commands on a cluster show what they found: aligned tables for people, JSON and YAML for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

Form = Literal["text", "wide", "json", "yaml"]
Row = tuple[str, ...]


def form_option(*, wide: bool) -> Callable[[_F], _F]:
    """Adds -o; ``wide`` only where a table has more columns than it shows at first."""
    forms = ["text", "wide", "json", "yaml"] if wide else ["text", "json", "yaml"]
    return click.option(
        "-o", "--output", type=click.Choice(forms), default="text", show_default=True, help="Form of the result."
    )


def show(data: Any, lines: Sequence[str], *, form: Form) -> None:
    """``data`` for programs, ``lines`` for people: whichever was asked for."""
    if form == "json":
        click.echo(json.dumps(data, indent=2))
    elif form == "yaml":
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
    else:
        for line in lines:
            click.echo(line)


def table(rows: Sequence[Row], *, indent: str = "") -> list[str]:
    """Lines with aligned columns, the first row being the heading; none where there is only that."""
    if len(rows) < 2:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
