"""The pause switch: a file in the root. No lock is needed to set it, so an operator can while the owner runs."""

from __future__ import annotations

from pathlib import Path

from api.errors import NotFound
from cache.store.failures import disk_errors
from cache.store.root import is_root

PAUSED = ".paused"


def is_paused(root: Path) -> bool:
    """No new pulls and no evictions now; what is published and mounted goes on."""
    with disk_errors(f"looking for {PAUSED}"):
        return (root / PAUSED).exists()


def pause(root: Path, *, paused: bool) -> bool:
    """Set or clear it; False where it was so already. Raises NotFound where there is no cache, DiskError."""
    if not is_root(root):
        raise NotFound(f"there is no cache at {root}", hint="name its folder with --root")
    with disk_errors(f"writing {root / PAUSED}"):
        was = (root / PAUSED).exists()
        if paused:
            (root / PAUSED).touch(mode=0o600)
        else:
            (root / PAUSED).unlink(missing_ok=True)
    return was != paused
