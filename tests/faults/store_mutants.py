"""Faults put into the store's own code, to show that the crash drill would notice them."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cache.store import Ingest, pins, small, staged
from cache.store.layout import Layout


def _no_digest_check() -> None:
    commit = Ingest.commit
    Ingest.commit = lambda self, actual: commit(self, self.digest)  # type: ignore[method-assign]


def _tree_built_in_place() -> None:
    Layout.new_tree = Layout.tree  # type: ignore[method-assign]


def _pins_ignored() -> None:
    pins.refuse_pinned = lambda layout, tree: None


def _temporary_files_among_blobs() -> None:
    def in_place(folder: Path) -> Path:
        name = secrets.token_hex(32)
        return folder.parent / "blobs" / "sha256" / name[:2] / name

    small.scratch_name = staged.scratch_name = in_place  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Mutant:
    """``apply`` takes a safeguard away; a kill at some call of ``shown_by`` then breaks a promise."""

    apply: Callable[[], None]
    shown_by: str


MUTANTS = {
    "no-digest-check": Mutant(_no_digest_check, "link"),
    "tree-built-in-place": Mutant(_tree_built_in_place, "link"),
    "pins-ignored": Mutant(_pins_ignored, "rmdir"),
    "temporary-files-among-blobs": Mutant(_temporary_files_among_blobs, "syncfs"),
}
