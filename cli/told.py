"""What the local commands say and assume, without click: also for a pull that is answered before it is imported."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from api.reference import OciReference, Reference
from cache.pulled import Pulled


def default_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "warmset"


def settings_path() -> Path:
    """Where a user sets things for every command (cli/settings.py reads it), whether or not there is such a file."""
    if given := os.environ.get("WARMSET_CONFIG"):
        return Path(given)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "warmset" / "config.yaml"


def plain_hosts(reference: Reference, *, plain_http: bool) -> frozenset[str]:
    """The host of the reference, where the user says that it has no TLS."""
    if not plain_http:
        return frozenset()
    host = reference.host if isinstance(reference, OciReference) else reference.location.partition("/")[0]
    return frozenset({host})


def size_text(count: float) -> str:
    """Bytes for people: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def tell_pulled(reference: Reference, pulled: Pulled, *, path: Path, seconds: float, output: str) -> None:
    """The result of a pull: JSON, or a line on stderr for people and the path alone on stdout."""
    if output == "json":
        told = {
            "reference": str(reference),
            "revision": pulled.revision,
            "tree": str(pulled.tree.digest),
            "path": str(path),
            "files": len(pulled.tree.files),
            "bytes": pulled.tree.size,
            "bytesOrigin": pulled.bytes_origin,
            "bytesReused": pulled.bytes_reused,
            "seconds": round(seconds, 3),
        }
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return
    sys.stderr.write(
        f"{reference} is {pulled.revision}: {len(pulled.tree.files)} files, {size_text(pulled.tree.size)}, of which "
        f"{size_text(pulled.bytes_origin)} from the source, in {seconds:.1f} s\n"
    )
    sys.stdout.write(f"{path}\n")
