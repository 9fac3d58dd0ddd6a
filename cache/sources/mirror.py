"""A mirror as it stands in a configuration."""

from __future__ import annotations

from msgspec import Struct


class Mirror(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of ``mirrors`` in an agent's or a user's configuration."""

    host: str
    """The registry, as in a reference."""
    url: str
    """``http(s)://host[:port][/path]``, before ``/v2/``."""
    tags: bool = False
    """Whether its word counts for what a tag means; otherwise the registry itself is asked."""
