"""The name of the WarmSet that is made for an annotated workload."""

from __future__ import annotations

import hashlib
import re

from controller.groups import Owner

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9.-]+")


def warm_set_name(top: Owner) -> str:
    """``<kind>-<name>`` in lower case; a name too long for that ends in a hash of itself."""
    name = _NOT_IN_A_NAME.sub("-", f"{top.kind}-{top.name}".lower())
    if len(name) <= 200:
        return name
    return f"{name[:180]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
