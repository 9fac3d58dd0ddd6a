"""When the process may have no more: neither a defect of ours nor the disk's fault, and over once there is some."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from api.errors import OutOfResources


@contextmanager
def exhaustion(doing: str) -> Iterator[None]:
    """Raise OutOfResources in place of what Python raises for want of memory or threads in the block."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            raise OutOfResources(
                f"{doing}: no memory left", hint="raise the memory limit, or pull with fewer workers"
            ) from error
        if isinstance(error, RuntimeError) and "start new thread" in str(error):  # no class of its own (thread.c)
            raise OutOfResources(
                f"{doing}: no thread can be started", hint="raise the limit of processes (ulimit -u, pids.max)"
            ) from error
        raise
