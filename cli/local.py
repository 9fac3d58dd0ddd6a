"""What the commands on the local store share: where it is, opening it, showing sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from api.errors import NotFound, StoreLocked
from cli.told import default_root, plain_hosts, size_text

if TYPE_CHECKING:  # a command's --help must not pay for the store
    from cache.store.store import Store

__all__ = ["open_store", "output_option", "plain_hosts", "root_option", "show_json", "size_text"]

_F = TypeVar("_F", bound=Callable[..., Any])
_LOCK_WAIT_S = 3600.0  # several processes of one job may ask for the same model; the first brings it for all


def root_option(function: _F) -> _F:
    return click.option(
        "--root",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="WARMSET_ROOT",
        default=default_root,
        show_default="$XDG_CACHE_HOME/warmset",
        help="Folder of the local store.",
    )(function)


def output_option(function: _F) -> _F:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Form of the result.",
    )(function)


def open_store(root: Path, *, make: bool = False) -> Store:
    """The store at ``root``, after waiting for another process that uses it.

    Raises NotFound where the user named another folder than the usual one and there is none, unless it is to be made.
    """
    from cache.store.store import Store

    if not make and root != default_root() and not root.exists():
        raise NotFound(f"there is no cache at {root}", hint="name its folder with --root")
    try:
        return Store.open(root.absolute())
    except StoreLocked:
        click.echo(f"another warmset uses {root}; waiting for it", err=True)
        return Store.open(root.absolute(), wait_s=_LOCK_WAIT_S)


def show_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))
