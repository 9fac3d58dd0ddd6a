"""Where a node shows a model that is open to all namespaces, in clusters whose pods mount by hostPath.

    <cache root>/open/<namespace>/<name>/<revision>

The agent makes it, admission writes it into pods, and the controller reads from it which model a pod has.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

FOLDER = "open"
_NAME = r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?"
_BELOW = re.compile(rf".*/{FOLDER}/({_NAME}/{_NAME})/([0-9A-Za-z][-0-9A-Za-z._:]{{0,254}})")


def open_path(root: PurePosixPath, *, model: str, revision: str) -> PurePosixPath | None:
    """For ``model`` (namespace/name); None where a name or the revision cannot be part of a path."""
    path = root / FOLDER / model / revision
    return path if parse_open_path(str(path)) == (model, revision) else None


def parse_open_path(path: str) -> tuple[str, str] | None:
    """Model and revision of such a path, whatever the root; None for any other."""
    match = _BELOW.fullmatch(path)
    return (match[1], match[2]) if match else None
