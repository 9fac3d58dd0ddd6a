"""Where models come from: what a reference resolves to, and how its bytes are read."""

from cache.sources.options import Credential, SourceOptions
from cache.sources.resolve import resolve
from cache.sources.source import Resolved

__all__ = ["Credential", "Resolved", "SourceOptions", "resolve"]
