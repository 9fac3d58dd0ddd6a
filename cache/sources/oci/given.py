"""A manifest that came from somebody else than its registry, such as another node that pulled it."""

from __future__ import annotations

import hashlib

import msgspec

from api.digest import Digest
from api.errors import DigestMismatch, InvalidArtifact
from api.reference import OciReference
from cache.sources.oci.manifest import Manifest, parse_manifest
from cache.sources.oci.mediatypes import MANIFESTS
from cache.sources.oci.registry import Fetched


class _Stated(msgspec.Struct, rename="camel"):
    media_type: str = MANIFESTS[0]  # image spec 1.1: optional in the document; then only the registry's header said it


def read_given(reference: OciReference, body: bytes) -> Fetched:
    """The manifest that ``reference`` names by its digest.

    Raises DigestMismatch where it is another one, InvalidArtifact or UnsupportedSource where it cannot be read.
    """
    digest = Digest(hashlib.sha256(body).hexdigest())
    if digest != reference.digest:
        raise DigestMismatch(f"manifest {reference}: got {digest}")
    try:
        stated = msgspec.json.decode(body, type=_Stated)
    except msgspec.DecodeError as error:
        raise InvalidArtifact(f"the manifest is malformed: {error}") from error
    parsed = parse_manifest(body, content_type=stated.media_type)
    if not isinstance(parsed, Manifest):
        raise InvalidArtifact(f"{reference} is an index, and no revision of a model")
    return Fetched(digest, parsed, body)
