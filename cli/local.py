"""What the commands on the local store share: where it is, opening it, finding what the user names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from api.errors import InvalidRequest, NotFound, StoreLocked
from api.reference import OciReference, Reference, parse_reference

if TYPE_CHECKING:  # a command's --help must not pay for the store
    from api.digest import Digest
    from cache.store.store import Store

_F = TypeVar("_F", bound=Callable[..., Any])
_LOCK_WAIT_S = 3600.0  # several processes of one job may ask for the same model; the first brings it for all


def default_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "warmset"


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


def open_store(root: Path) -> Store:
    """The store at ``root``, after waiting for another process that uses it."""
    from cache.store.store import Store

    try:
        return Store.open(root.absolute())
    except StoreLocked:
        click.echo(f"another warmset uses {root}; waiting for it", err=True)
        return Store.open(root.absolute(), wait_s=_LOCK_WAIT_S)


def find_tree(store: Store, target: str) -> Digest:
    """The tree that a reference, a tree's digest or the beginning of one names. Raises NotFound, InvalidRequest."""
    if "://" in target:
        key = str(parse_reference(target))
        # Behind a record's reference stand its filter and layout.
        found = {r.tree for r in store.pull_records() if key in (r.key.partition(" ")[0], r.source.partition(" ")[0])}
    else:
        prefix = target.removeprefix("sha256:")
        found = {tree for tree in store.trees() if prefix and tree.hex.startswith(prefix)}
    if not found:
        raise NotFound(f"{target} is not in the store at {store.root}", hint="see what is there with `warmset ls`")
    if len(found) > 1:
        raise InvalidRequest(f"{target} names {len(found)} trees", hint="give more digits of one of them")
    return found.pop()


def plain_hosts(reference: Reference, *, plain_http: bool) -> frozenset[str]:
    """The host of the reference, where the user says that it has no TLS."""
    if not plain_http:
        return frozenset()
    host = reference.host if isinstance(reference, OciReference) else reference.location.partition("/")[0]
    return frozenset({host})


def show_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def size_text(count: float) -> str:
    """Bytes for people: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
