"""What tests of every object store do with one: the model that lies in it, and pulls of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api.errors import SourceChanged
from api.reference import parse_reference
from cache.pull import Pulled, pull
from cache.sources import SourceOptions
from cache.sources.objects.pieces import PIECE_BYTES
from cache.sources.resolve import resolve
from cache.store import Store
from tests.support.command import warmset
from tests.support.pulling import contents

FILES = {"config.json": b"{}", "model-1.safetensors": bytes(range(256)) * 100_000, "sub/empty": b""}
LAPTOP = SourceOptions(ambient=True)


def bring_objects(store: Store, reference: str, *, options: SourceOptions = LAPTOP) -> Pulled:
    return pull(store, parse_reference(reference), options=options, trust_store=True)


def check_overwritten_is_said(reference: str, *, overwrite: Callable[[str, int], object]) -> None:
    """``overwrite`` gets the path and size of an object that is half read."""
    resolved = resolve(parse_reference(reference), options=LAPTOP)
    large = next(file for file in resolved.artifact.unhashed if file.size > PIECE_BYTES)
    body = resolved.open_session(resolved.artifact).open(large.key, size=large.size, start=0, stop=large.size)
    assert body.readinto(memoryview(bytearray(PIECE_BYTES))) == PIECE_BYTES
    overwrite(large.path, large.size)
    with pytest.raises(SourceChanged, match="overwritten"):
        body.readinto(memoryview(bytearray(PIECE_BYTES)))


def check_the_command_pulls(reference: str, *, folder: Path) -> None:
    """With what the environment says."""
    out = folder / "out"
    done = warmset("pull", "--root", folder / "store", reference, out)
    assert done.returncode == 0, done.stderr
    assert contents(out) == FILES
