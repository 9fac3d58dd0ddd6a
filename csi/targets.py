"""Where a volume may be mounted: the one kind of path that kubelet gives to a CSI driver, and no other.

    <kubelet>/pods/<pod uid>/volumes/kubernetes.io~csi/<volume>/mount

(kubernetes pkg/volume/csi/csi_mounter.go GetPath.) A path is taken apart, each part checked, and only the parts are
used afterwards, one folder at a time and without following symbolic links (mount.py). No other string of a request
ever becomes part of a path.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import PurePath

from api.errors import InvalidRequest

LEAF = "mount"
_PLUGIN = "kubernetes.io~csi"
# A UUID, or the hash that kubelet gives to a static pod.
_UID = re.compile(r"[0-9A-Za-z]([-0-9A-Za-z]{0,126}[0-9A-Za-z])?")
# A volume's name in its pod (DNS label) or a PersistentVolume's (DNS subdomain): never '.', '..' or hidden.
_VOLUME = re.compile(r"[0-9a-z]([-0-9a-z.]{0,251}[0-9a-z])?")


@dataclass(frozen=True, slots=True)
class Target:
    """A checked target. ``id`` names its publication at the agent: hex sha256 of the path that kubelet gave."""

    path: str
    pod_uid: str
    volume: str
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", hashlib.sha256(self.path.encode()).hexdigest())

    @property
    def folder(self) -> str:
        """The folder that kubelet made for the volume, relative to kubelet's own: the target lies in it."""
        return f"pods/{self.pod_uid}/volumes/{_PLUGIN}/{self.volume}"


def parse_target(path: str, *, kubelet_dir: PurePath) -> Target:
    """Read a target path of a request. Raises InvalidRequest, which does not repeat the path."""
    target = match_target(path, kubelet_dir=kubelet_dir)
    if target is None:
        raise InvalidRequest(
            f"the target path is not {kubelet_dir}/pods/<uid>/volumes/{_PLUGIN}/<name>/{LEAF}",
            hint="set --kubelet-root to kubelet's root directory",
        )
    return target


def match_target(path: str, *, kubelet_dir: PurePath) -> Target | None:
    """Like parse_target, but None for any other path: the mount table is full of them."""
    rest = path.removeprefix(f"{kubelet_dir}/pods/")
    parts = rest.split("/")
    if rest == path or len(parts) != 5:
        return None
    uid, volumes, plugin, volume, leaf = parts
    if (volumes, plugin, leaf) != ("volumes", _PLUGIN, LEAF):
        return None
    if not _UID.fullmatch(uid) or not _VOLUME.fullmatch(volume):
        return None
    return Target(path, uid, volume)
