"""``warmset pull`` of a model that is here already, without click.

It takes the plainest of pull's options and answers only where there is nothing to do; whatever else it is asked, or
goes wrong, is for cli.commands.pull, which does it properly and says why. Both tell the result in the same words.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from api.errors import WarmsetError
from api.reference import parse_reference
from cache.origin import Origin
from cache.present import find_present
from cache.sources.filter import Filter
from cache.sources.options import SourceOptions
from cli.told import default_root, plain_hosts, settings_path, tell_pulled

_FLAGS = ("--allow-executable", "--plain-http")
_VALUED = ("--include", "--exclude", "--layout", "--root", "--output")
_CHOICES = {"--layout": ("plain", "hf"), "--output": ("text", "json")}


def answer(arguments: Sequence[str]) -> bool:
    """Tell where the model is, if all is here; False where a pull must look."""
    started_s = time.monotonic()
    asked = parse(arguments)
    if asked is None or settings_path().exists():  # mirrors may be the only ones that can be reached
        return False
    words, options = asked
    root = Path(options.get("--root", [os.environ.get("WARMSET_ROOT") or default_root()])[-1]).absolute()
    layout: Literal["plain", "hf"] = "hf" if options.get("--layout", ["plain"])[-1] == "hf" else "plain"
    include, exclude = (tuple(options.get(name, ())) for name in ("--include", "--exclude"))
    try:
        reference = parse_reference(words[0])
        origin = Origin(reference, Filter(include, exclude, "--allow-executable" in options), layout)
        hosts = plain_hosts(reference, plain_http="--plain-http" in options)
        found = find_present(root, origin, options=SourceOptions(plain_http=hosts, ambient=True))
        if found is None:
            return False
        path = found.path
        if len(words) == 2:
            from cache.export import is_linked
            from cache.store.layout import Layout

            path = Path(words[1]).absolute()
            if not is_linked(Layout(root), found.tree, path):
                return False
    except (WarmsetError, OSError):
        return False
    seconds = time.monotonic() - started_s
    tell_pulled(reference, found, path=path, seconds=seconds, output=options.get("--output", ["text"])[-1])
    return True


def parse(arguments: Sequence[str]) -> tuple[list[str], dict[str, list[str]]] | None:
    """Words and options of a pull, or None for what click should read."""
    words: list[str] = []
    options: dict[str, list[str]] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        name = "--output" if argument == "-o" else name
        if not argument.startswith("-"):
            words.append(argument)
        elif argument in _FLAGS:
            options[argument] = []
        elif name in _VALUED:
            given = value if equals else next(rest, "")
            if not given or given not in _CHOICES.get(name, (given,)):
                return None
            options.setdefault(name, []).append(given)
        else:
            return None
    return (words, options) if len(words) in (1, 2) and all(words) else None
