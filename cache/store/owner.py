"""Who owns a root: the process that holds its lock, as the kernel tells it.

Nothing is written down about an owner, so nothing can be out of date. Processes of other PID namespaces, such as those
of another container, cannot be seen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

LOCK = ".lock"
_PROGRAMS = ("warmset", "cli.main")  # the console script, and the module that it runs


@dataclass(frozen=True, slots=True)
class Owner:
    """``arguments`` are those of its command line, the program first."""

    pid: int
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """Which of Warmset's commands it runs, such as ``agent``; empty for any other program."""
        for program, command in zip(self.arguments, self.arguments[1:], strict=False):
            if Path(program).name in _PROGRAMS:
                return command
        return ""

    def __str__(self) -> str:
        name = f"warmset {self.command}" if self.command else Path(self.arguments[0]).name
        return f"{name} (process {self.pid})"


def owner_of(root: Path) -> Owner | None:
    """None where nobody holds the lock any more, or nobody who can be seen from here."""
    try:
        status = (root / LOCK).stat()
        pid = holder(Path("/proc/locks").read_text(), device=status.st_dev, inode=status.st_ino)
        command_line = b"" if pid is None else Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it ended meanwhile, or /proc is hidden
        return None
    arguments = tuple(os.fsdecode(command_line).rstrip("\0").split("\0"))
    return Owner(pid, arguments) if pid is not None and arguments[0] else None


def holder(locks: str, *, device: int, inode: int) -> int | None:
    """The process that holds the flock(2) on a file. ``locks``: proc_locks(5)."""
    file = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    for line in locks.splitlines():
        fields = line.split()  # 7: FLOCK ADVISORY WRITE 4711 fe:01:131 0 EOF; who waits has "->" after the number
        if len(fields) == 8 and fields[1] == "FLOCK" and fields[5] == file:
            return int(fields[4])
    return None
