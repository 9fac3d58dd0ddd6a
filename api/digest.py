"""A sha256 digest as a checked value: the only thing a store path is ever built from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from api.errors import InvalidArtifact

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256, as 64 lower-case hex digits. ``str()`` gives the OCI form ``sha256:<hex>``."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise InvalidArtifact(f"not a sha256 in lower-case hex: {self.hex[:80]!r}")

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``sha256:<hex>`` (OCI image spec, Digests). Other algorithms are refused."""
        algorithm, separator, value = text.partition(":")
        if not separator or algorithm != "sha256":
            raise InvalidArtifact(f"expected sha256:<64 hex digits>, got {text[:80]!r}")
        return cls(value)
