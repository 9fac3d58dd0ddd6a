"""A manifest, read strictly from bytes that a stranger may have made. Pure.

Rules: OCI image spec 1.1 (Image Manifest), and no ambiguity: two readers must never see two different models.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import Meta, Struct, field

from api.digest import Digest
from api.errors import InvalidArtifact, UnsupportedSource
from api.tree import MAX_FILES
from cache.sources.oci.mediatypes import INDEXES, MANIFESTS

MAX_MANIFEST_BYTES = 4 << 20  # distribution spec 1.1: registries should take at least this much, and few take more
_MAX_SIZE = 2**63 - 1
_MAX_MANIFESTS = 1000
_SHOWN = 8
_NO_PLATFORM = "unknown/unknown"  # what docker's builder gives to attestations beside its images


class Descriptor(Struct, rename="camel", frozen=True):
    """What a blob is. ``urls`` and ``data`` are left out: bytes come from the registry, under their digest."""

    media_type: str
    digest: str
    size: Annotated[int, Meta(ge=0, le=_MAX_SIZE)]
    annotations: dict[str, str] = field(default_factory=dict)


class Platform(Struct, frozen=True):
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Entry(Descriptor, rename="camel", frozen=True):
    """A manifest of an index."""

    platform: Platform | None = None
    artifact_type: str = ""

    def __str__(self) -> str:
        words = (str(self.platform or ""), self.artifact_type[:120], self.digest[:80])
        return " ".join(word for word in words if word)


class Manifest(Struct, rename="camel", frozen=True):
    schema_version: int
    config: Descriptor
    layers: Annotated[list[Descriptor], Meta(max_length=MAX_FILES)]
    media_type: str = ""
    artifact_type: str = ""
    annotations: dict[str, str] = field(default_factory=dict)


class Index(Struct, rename="camel", frozen=True):
    schema_version: int
    manifests: Annotated[list[Entry], Meta(max_length=_MAX_MANIFESTS)]
    media_type: str = ""


def parse_manifest(body: bytes, *, content_type: str) -> Manifest | Index:
    """Read a manifest or an index. Raises InvalidArtifact, or UnsupportedSource for a kind that is neither."""
    document = _load(body)
    stated = content_type.partition(";")[0].strip().lower()
    media_type = document.get("mediaType", stated)
    if media_type != stated:
        raise InvalidArtifact(f"the manifest says it is {_show(media_type)}, the registry says {_show(stated)}")
    if "layers" in document and "manifests" in document:
        raise InvalidArtifact("the manifest holds both layers and manifests, so what it means depends on its reader")
    shape: type[Manifest | Index]
    if media_type in MANIFESTS:
        shape = Manifest
    elif media_type in INDEXES:
        shape = Index
    else:
        raise UnsupportedSource(f"a manifest of type {_show(media_type)} cannot be read")
    try:
        parsed = msgspec.convert(document, type=shape)
    except msgspec.ValidationError as error:
        raise InvalidArtifact(f"the manifest is malformed: {error}") from error
    if parsed.schema_version != 2:
        raise InvalidArtifact(f"the manifest has schema version {parsed.schema_version}, not 2")
    return parsed


def choose(index: Index, *, platform: str = "", artifact_type: str = "") -> Digest:
    """The one manifest of an index that can be meant, of ``platform`` (``linux/amd64``) and type where those are given.

    Raises UnsupportedSource, which lists them, where several qualify or none does: we never guess.
    """
    found = {entry.digest: entry for entry in index.manifests if _qualifies(entry, platform, artifact_type)}
    if len(found) == 1:
        return Digest.parse(next(iter(found)))
    listed = list(found.values()) or index.manifests
    shown = "; ".join(repr(str(entry)) for entry in listed[:_SHOWN])
    more = f"; and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    words = " and ".join(repr(word[:120]) for word in (platform, artifact_type) if word)
    wanted = f" for {words}" if words else ""
    raise UnsupportedSource(
        f"the reference names an index in which {len(found)} manifests qualify{wanted}: {shown}{more}",
        hint="choose by --platform os/architecture or --artifact-type (spec.platform, spec.artifactType), "
        "or name one by its digest: oci://host/repository@sha256:…",
    )


def _qualifies(entry: Entry, platform: str, artifact_type: str) -> bool:
    if entry.media_type not in (*MANIFESTS, *INDEXES) or str(entry.platform) == _NO_PLATFORM:
        return False
    inner = entry.media_type in INDEXES and not entry.artifact_type  # it may hold one of the type
    if artifact_type and entry.artifact_type != artifact_type and not inner:
        return False
    return not platform or entry.platform is None or f"{entry.platform}/".startswith(f"{platform}/")


def _load(body: bytes) -> dict[str, Any]:
    try:
        # msgspec and json both take the last of two equal keys silently; another reader may take the first.
        document = json.loads(body, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArtifact("the manifest is not JSON") from error
    if not isinstance(document, dict):
        raise InvalidArtifact("the manifest is not a JSON object")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise InvalidArtifact("the manifest holds a key twice")
    return document


def _no_constant(name: str) -> NoReturn:
    raise InvalidArtifact(f"the manifest holds {name}")


def _show(value: object) -> str:
    return repr(value)[:120]
