"""What one tree comes from, as a value and as the text that pull records keep.

<pinned reference> [+include ...] [-exclude ...] [layout=hf]
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal, get_args

from api.reference import OciReference, Reference, parse_reference
from cache.sources.filter import Filter

Layout = Literal["plain", "hf"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@dataclass(frozen=True, slots=True)
class Origin:
    """Two trees of one origin are the same tree, when its reference is pinned."""

    reference: Reference
    wanted: Filter
    layout: Layout = "plain"

    def __str__(self) -> str:
        # A digest says all; the same revision under two tags is one origin.
        reference = self.reference
        if isinstance(reference, OciReference) and reference.digest is not None:
            reference = replace(reference, tag=None)
        words = [str(reference), str(self.wanted), "" if self.layout == "plain" else f"layout={self.layout}"]
        return " ".join(word for word in words if word)

    @property
    def exchange(self) -> str:
        """64 hex digits that name what nodes share of it, where its reference is pinned: however it is arranged here,
        the same bytes through the same place. Anybody can work them out: ``printf %s '<text>' | sha256sum``."""
        return hashlib.sha256(str(replace(self, layout="plain")).encode()).hexdigest()

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read a record's source. Raises InvalidReference."""
        reference, *words = text.split(" ")
        include = tuple(word[1:] for word in words if word.startswith("+"))
        exclude = tuple(word[1:] for word in words if word.startswith("-"))
        layout: Layout = next((name for name in LAYOUTS if f"layout={name}" in words), "plain")
        return cls(parse_reference(reference), Filter(include, exclude), layout)
