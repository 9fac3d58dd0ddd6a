"""Which files of a model are taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cache.sources.formats import check_formats


@dataclass(frozen=True, slots=True)
class Filter:
    """Globs over file paths; ``*`` also spans slashes, as in ``huggingface-cli``. Without includes all are taken.

    ``allow_executable`` is whoever pulls saying that files which run code when loaded may be among them; what is
    taken is the same either way, so it is no part of the text."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_executable: bool = True

    def takes(self, path: str) -> bool:
        wanted = not self.include or any(fnmatchcase(path, glob) for glob in self.include)
        return wanted and not any(fnmatchcase(path, glob) for glob in self.exclude)

    def check(self, paths: Iterable[str]) -> None:
        """Raises ExecutableContent where one of the taken ``paths`` is not allowed."""
        if not self.allow_executable:
            check_formats(paths)

    def __str__(self) -> str:
        """Canonical text, empty without globs: two pulls of one revision differ exactly where this does."""
        words = [f"+{glob}" for glob in sorted(self.include)] + [f"-{glob}" for glob in sorted(self.exclude)]
        return " ".join(words)
