"""The volume attributes that mean something to the driver, and what each may look like.

Users write volume attributes freely, the names that begin with csi.storage.k8s.io/ included; kubelet overwrites the
latter only where the CSIDriver object says podInfoOnMount. Hence the cross-check of the pod's UID with the target path
(arguments.py), and hence nothing is logged or echoed that does not match its pattern: people put credentials into
the oddest places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from api import keys
from api.errors import InvalidRequest

POD_NAME = "csi.storage.k8s.io/pod.name"
POD_NAMESPACE = "csi.storage.k8s.io/pod.namespace"
POD_UID = "csi.storage.k8s.io/pod.uid"
_DNS = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"

PATTERNS: Mapping[str, re.Pattern[str]] = {
    keys.ATTRIBUTE_MODEL: re.compile(rf"{_DNS}/{_DNS}"),
    # A manifest digest, a commit, or another store's version of an object.
    keys.ATTRIBUTE_REVISION: re.compile(r"[0-9A-Za-z][-0-9A-Za-z._:]{0,255}"),
    keys.ATTRIBUTE_PRELOAD: re.compile(r"true|false"),
    POD_NAME: re.compile(_DNS),
    POD_NAMESPACE: re.compile(_DNS),
    POD_UID: re.compile(r"[-0-9A-Za-z]{1,128}"),
}
_SHAPES = {
    keys.ATTRIBUTE_MODEL: "namespace/name of a Model",
    keys.ATTRIBUTE_REVISION: "a revision, such as a digest",
    keys.ATTRIBUTE_PRELOAD: "true or false",
}


def known(context: Mapping[str, str]) -> dict[str, str]:
    """The attributes that may stand in a log: known names with values of the right shape."""
    return {key: context[key] for key, pattern in PATTERNS.items() if pattern.fullmatch(context.get(key, ""))}


def attribute(context: Mapping[str, str], key: str) -> str:
    """The value of a required attribute. Raises InvalidRequest, which never repeats the value."""
    value = context.get(key, "")
    if not value and key not in _SHAPES:
        raise InvalidRequest(f"{key} is missing", hint="the CSIDriver object must say podInfoOnMount: true")
    if not PATTERNS[key].fullmatch(value):
        raise InvalidRequest(f"volume attribute {key} must be {_SHAPES.get(key, 'as kubelet sets it')}")
    return value


def refuse_unknown(context: Mapping[str, str]) -> None:
    """Raise InvalidRequest for a name of our own domain that means nothing: a typing error should not pass quietly."""
    strange = [key for key in context if key.startswith(f"{keys.DOMAIN}/") and key not in PATTERNS]
    if strange:
        raise InvalidRequest(f"unknown volume attribute {min(strange)[:120]!r}", hint=f"known: {', '.join(_SHAPES)}")
