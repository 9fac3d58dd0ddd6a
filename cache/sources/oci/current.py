"""What a tag names at this moment."""

from __future__ import annotations

from api.digest import Digest
from api.reference import OciReference
from cache.http.network import network_from_env
from cache.sources.oci.registry import Repository
from cache.sources.options import SourceOptions


def current_digest(reference: OciReference, *, options: SourceOptions) -> Digest | None:
    """One HEAD to the registry itself, mirrors aside. Raises named errors and OSError."""
    session = Repository(reference, options=options, network=network_from_env()).session()
    try:
        return session.named(reference.manifest)
    finally:
        session.close()
