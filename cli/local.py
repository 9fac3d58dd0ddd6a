"""What the commands on the local store share: where it is, opening it, showing sizes."""

from __future__ import annotations

import json
import time
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
SAME_MODEL_S = 3600.0  # several processes of one job may ask for the same model; the first brings it for all
_WAIT_S = 10.0
_ASK_THE_AGENT = (
    "ask it: warmset node shows what it holds, verify --socket checks that, in a cluster warm and cool change it; "
    "or give another --root"
)
_LOOK_S = 1.0  # the next owner may be an agent, who does not end


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


def open_store(root: Path, *, make: bool = False, wait_s: float = _WAIT_S) -> Store:
    """The store at ``root``, once another command that uses it has ended.

    Raises StoreLocked: at once where an agent owns it, else after ``wait_s`` seconds. Raises NotFound where the user
    named another folder than the usual one and there is none, unless it is to be made.
    """
    from cache.store.owner import owner_of
    from cache.store.store import Store

    if not make and root != default_root() and not root.exists():
        raise NotFound(f"there is no cache at {root}", hint="name its folder with --root")
    path, deadline = root.absolute(), time.monotonic() + wait_s
    waited_for = ""
    while True:
        try:
            return Store.open(path, wait_s=_LOOK_S if waited_for else 0.0)
        except StoreLocked:
            owner = owner_of(path)
            if owner is not None and owner.command == "agent":
                raise StoreLocked(f"{owner} owns the cache at {root} as long as it runs", hint=_ASK_THE_AGENT) from None
            if time.monotonic() >= deadline:
                raise
        found = str(owner or "another process")
        if found != waited_for:
            click.echo(f"{found} uses {root}; waiting for it, at most {deadline - time.monotonic():.0f} s", err=True)
            waited_for = found


def show_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))
