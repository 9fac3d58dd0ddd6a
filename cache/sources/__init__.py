"""Where models come from: what a reference resolves to (``resolve``), and how its bytes are read."""

from cache.sources.options import Credential, SourceOptions

__all__ = ["Credential", "SourceOptions"]
