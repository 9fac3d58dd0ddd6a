"""What the mount table says is published: the driver's whole state, worked out anew whenever it is asked.

Pure functions of one reading of the table. The kubelet directory and the cache's root must be given without symbolic
links, because the table has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from api.digest import Digest
from csi.mountinfo import Mount, containing
from csi.targets import Target, match_target

# What every publication's mount carries; the kernel applies them before the mount can be seen.
FLAGS = frozenset({"ro", "nosuid", "nodev"})
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Published:
    """What is mounted at a target. ``tree`` is None where that is no tree of this cache, or one that is deleted."""

    target: Target
    tree: Digest | None
    guarded: bool  # all of FLAGS are set


def published_at(target: Target, *, mounts: Sequence[Mount], cache_root: PurePath) -> Published | None:
    """What a process that opens the target sees, or None where nothing is mounted."""
    top: Mount | None = None
    for mount in mounts:
        if mount.point == target.path:
            top = mount
    if top is None:
        return None
    source = _source(mounts, cache_root)
    return Published(target, _tree(top, source), top.options >= FLAGS)


def live(mounts: Sequence[Mount], *, kubelet_dir: PurePath, cache_root: PurePath) -> list[Published]:
    """Every target on which something of this cache is mounted, a deleted tree included."""
    source = _source(mounts, cache_root)
    found: dict[str, Published] = {}
    for mount in mounts:
        target = match_target(mount.point, kubelet_dir=kubelet_dir)
        if target is not None and source is not None and _is_below(mount, source):
            found[target.id] = Published(target, _tree(mount, source), mount.options >= FLAGS)
    return list(found.values())


def _source(mounts: Sequence[Mount], cache_root: PurePath) -> tuple[str, PurePath] | None:
    """Device of the cache's filesystem, and the cache's root as a path of that filesystem."""
    mount = containing(mounts, cache_root)
    if mount is None:
        return None
    return mount.device, PurePath(mount.root) / cache_root.relative_to(mount.point)


def _is_below(mount: Mount, source: tuple[str, PurePath]) -> bool:
    device, root = source
    return mount.device == device and PurePath(mount.root).is_relative_to(root)


def _tree(mount: Mount, source: tuple[str, PurePath] | None) -> Digest | None:
    if source is None or not _is_below(mount, source):
        return None
    parts = PurePath(mount.root).relative_to(source[1]).parts
    # The kernel appends //deleted to the path of an unlinked folder, which makes it a part more.
    if len(parts) != 2 or parts[0] != "trees" or not _HEX.fullmatch(parts[1]):
        return None
    return Digest(parts[1])
