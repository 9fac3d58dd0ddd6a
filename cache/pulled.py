"""What a pull made present."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from api.tree import Tree


@dataclass(frozen=True, slots=True)
class Pulled:
    """``bytes_origin`` came over the network in this call; ``bytes_reused`` of the tree were in the store before."""

    revision: str
    tree: Tree
    path: Path
    bytes_origin: int
    bytes_reused: int
    source: str  # the text of its Origin: what a pull record keeps
