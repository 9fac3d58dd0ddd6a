"""Which cache a root holds, and laid out by which rules: the file ``.cache-id``, written once.

A warm pull reads it too, and pays for each import: hence plain JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FORMAT = 1
IDENTITY = ".cache-id"


@dataclass(frozen=True, slots=True)
class Identity:
    id: str
    format: int

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()


def read_identity(root: Path) -> Identity:
    """Raises OSError, and ValueError for a file that is not one. What a later version may have added is passed over."""
    said = json.loads((root / IDENTITY).read_bytes())
    if not isinstance(said, dict) or not isinstance(said.get("id"), str) or type(said.get("format")) is not int:
        raise ValueError(f"{root / IDENTITY} names no cache")
    return Identity(said["id"], said["format"])


def is_of_this_format(root: Path) -> bool:
    """Raises OSError."""
    try:
        return read_identity(root).format == FORMAT
    except ValueError:
        return False
