"""A memory cgroup for processes of a test, as a container's limit makes one (cgroup v1). Root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_HIERARCHY = Path("/sys/fs/cgroup/memory")


def why_no_memory_limit() -> str:
    """Why this machine has none; empty where it has."""
    if os.geteuid() != 0:
        return "needs root for memory cgroups"
    return "" if (_HIERARCHY / "memory.oom_control").exists() else "needs the memory controller of cgroup v1"


@dataclass(frozen=True)
class MemoryLimit:
    folder: Path

    @property
    def within(self) -> list[str]:
        """What goes before a command that is to be limited; it keeps the process id."""
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh"]

    @property
    def kills(self) -> int:
        """How often the kernel has killed a process for memory."""
        said = dict(line.split() for line in (self.folder / "memory.oom_control").read_text().splitlines())
        return int(said["oom_kill"])


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[MemoryLimit]:
    """All processes in it must have ended at the end."""
    folder = _HIERARCHY / f"warmset-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(limit_bytes))
        yield MemoryLimit(folder)
    finally:
        folder.rmdir()
