"""Whom a reference is read from. Pure."""

from __future__ import annotations

from api.reference import OciReference, Reference
from cache.sources.hf.hub import hub_address


def hosts_of(reference: Reference, *, endpoint: str = "") -> frozenset[str]:
    """The hosts (with ports, where they are named) that TLS is a question for: the registry, the web server, the Hub of
    HF_ENDPOINT, or the service of a bucket, which ``endpoint`` is the URL of."""
    if isinstance(reference, OciReference):
        return frozenset({reference.host})
    if reference.scheme == "hf":
        return frozenset({hub_address()[1].authority})
    named = endpoint.partition("://")[2] if endpoint else reference.location
    return frozenset({named.partition("/")[0]})
