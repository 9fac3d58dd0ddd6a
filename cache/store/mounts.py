"""This process's mounts, as proc(5) tells them in mountinfo."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Mount:
    """``shows`` is the folder of its file system that lies at ``point``; ``kind`` is the file system's type."""

    device: str
    shows: Path
    point: Path
    kind: str


def parse(mountinfo: str) -> list[Mount]:
    return [_mount(line) for line in mountinfo.splitlines()]


def around(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that an absolute path lies in; of those on one point, the last covers the others."""
    inside = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(inside), key=lambda mount: len(mount.point.parts), default=None)


def _mount(line: str) -> Mount:
    fields = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field) for field in line.split(" ")]
    kind = fields[fields.index("-", 6) + 1]  # behind optional fields, of any number
    return Mount(device=fields[2], shows=Path(fields[3]), point=Path(fields[4]), kind=kind)
