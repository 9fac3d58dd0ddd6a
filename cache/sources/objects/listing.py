"""What a listing of objects makes of an artifact and a revision. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from api.digest import Digest
from api.errors import InvalidArtifact, NotFound, SourceChanged
from api.reference import UrlReference
from api.tree import MAX_FILES
from cache.sources.artifact import Artifact, Filter, Unhashed, key_of, select


@dataclass(frozen=True, slots=True)
class Listed:
    """One object: ``path`` below the reference's prefix, ``name`` for the store's API, ``etag`` and ``version`` as the
    store gives them, or nothing."""

    path: str
    name: str
    size: int
    etag: str = ""
    version: str = ""

    @property
    def key(self) -> Digest:
        return key_of("object", self.path, str(self.size), self.etag, self.version)


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a reference, at one moment."""

    objects: tuple[Listed, ...]

    @classmethod
    def of(cls, objects: Iterable[Listed], *, reference: UrlReference) -> Listing:
        """Raises NotFound, InvalidArtifact for too many, SourceChanged where a pinned reference is something else."""
        found: list[Listed] = []
        for entry in objects:
            # What some programs leave to show a folder.
            if not entry.path or (entry.path.endswith("/") and not entry.size):
                continue
            found.append(entry)
            if len(found) > MAX_FILES:
                raise InvalidArtifact(f"{reference.place} has more than {MAX_FILES} objects", hint="name a prefix")
        if not found:
            raise NotFound(f"{reference.place} has no objects", hint="check the path: whole names between slashes")
        listing = cls(tuple(sorted(found, key=lambda entry: entry.path.encode())))
        if reference.revision and listing.revision != reference.revision:
            raise SourceChanged(
                f"{reference.place} is not at {reference.revision} any more, but at {listing.revision}",
                hint="objects were added, removed or overwritten; name the reference without @sha256:… to take them",
            )
        return listing

    @property
    def revision(self) -> str:
        """The digest of who is there in which version; of all files, whatever a filter leaves."""
        lines = "".join(f"{entry.key.hex} {entry.path}\n" for entry in self.objects)
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    def located(self, artifact: Artifact) -> Mapping[Digest, Listed]:
        """The object behind each digest or key of an artifact of this listing."""
        by_path = {entry.path: entry for entry in self.objects}
        return {digest: by_path[path] for digest, path in artifact.paths.items()}

    def artifact(self, *, wanted: Filter) -> Artifact:
        return select([], [Unhashed(entry.path, entry.size, entry.key) for entry in self.objects], wanted=wanted)
