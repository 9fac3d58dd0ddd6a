"""Reads the kernel's mount table, /proc/self/mountinfo: the only record of what is mounted that cannot be wrong.

Format: proc_pid_mountinfo(5). Space, tab, newline, back-slash and # in a path stand as octal escapes. From Linux
5.8 on the file lists every mount that stays while it is read (a cursor holds the place), and the calls in mount.py
need 5.12, so one reading is enough.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from api.errors import MountsUnknown

MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of this mount namespace.

    ``device`` is major:minor of the superblock, ``root`` the folder of that filesystem which is shown at ``point``.
    ``options`` are those of the mount alone, not of its superblock. ``shared`` tells that mounts made below it
    reach other namespaces.
    """

    device: str
    root: str
    point: str
    options: frozenset[str]
    shared: bool


def read_mounts() -> tuple[Mount, ...]:
    """All mounts in the order in which they were made. Raises MountsUnknown."""
    try:
        return parse_mountinfo(MOUNTINFO.read_bytes())
    except OSError as error:
        raise MountsUnknown(f"read {MOUNTINFO}: {os.strerror(error.errno or 0)}") from error


def parse_mountinfo(text: bytes) -> tuple[Mount, ...]:
    """Raises MountsUnknown for a line that is not as proc_pid_mountinfo(5) has it: no guess is safe there."""
    return tuple(_parse_line(line) for line in text.split(b"\n") if line)


def containing(mounts: Iterable[Mount], path: PurePath) -> Mount | None:
    """The mount on which ``path``, absolute and without symbolic links, lies: the longest mount point above it.

    Of mounts stacked on one point the last one counts.
    """
    found: Mount | None = None
    for mount in mounts:
        if path.is_relative_to(mount.point) and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def _parse_line(line: bytes) -> Mount:
    fields = line.split(b" ")
    try:
        # The dash ends the optional fields, which begin at the seventh; a path that is "-" stands before it.
        dash = fields.index(b"-", 6)
    except ValueError:
        raise MountsUnknown(f"mountinfo: a line of {len(fields)} fields has no separator") from None
    if len(fields) < dash + 3:
        raise MountsUnknown(f"mountinfo: a line ends after {len(fields)} fields")
    return Mount(
        device=fields[2].decode("ascii", "replace"),
        root=_unescape(fields[3]),
        point=_unescape(fields[4]),
        options=frozenset(fields[5].decode("utf-8", "surrogateescape").split(",")),
        shared=any(tag.startswith(b"shared:") for tag in fields[6:dash]),
    )


def _unescape(path: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), path))
