"""Memory for direct I/O."""

from __future__ import annotations

import contextlib
import mmap


def aligned_buffer(size: int) -> memoryview:
    """``size`` zero bytes that start on a page, as direct I/O needs them, and on few large pages where the kernel has
    them: pinning 4 KiB pages one by one for each write costs a tenth of a pull's processor time."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)
