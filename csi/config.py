"""What the driver is told at start. Nothing else in csi/ reads options or the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from api.errors import InvalidRequest

_SUN_PATH_BYTES = 107  # sizeof(sockaddr_un.sun_path) less the final NUL, unix(7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """``require_readonly`` may be off only for conformance tools, which publish with readonly=false; every mount
    is read-only all the same.
    """

    endpoint: Path
    agent_socket: Path
    cache_root: Path
    kubelet_dir: Path
    node_name: str
    version: str
    require_readonly: bool = True


def parse_endpoint(text: str) -> Path:
    """Read ``unix:///csi/csi.sock``, the form in which CSI_ENDPOINT is given. Raises InvalidRequest."""
    scheme, separator, rest = text.partition(":")
    path = Path(rest.removeprefix("//"))
    if not separator or scheme != "unix" or not path.is_absolute():
        raise InvalidRequest(f"endpoint {text[:200]!r} is not a unix socket", hint="write unix:///csi/csi.sock")
    if len(bytes(path)) > _SUN_PATH_BYTES:
        raise InvalidRequest(f"endpoint {text[:200]!r} is longer than {_SUN_PATH_BYTES} bytes")
    return path
