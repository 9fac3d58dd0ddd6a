"""OCI registries as a source."""

from __future__ import annotations

import threading
from dataclasses import replace

from api.reference import OciReference
from cache.http.network import network_from_env
from cache.http.retry import PATIENCE, with_retries
from cache.sources.artifact import Filter
from cache.sources.oci.given import read_given
from cache.sources.oci.layers import read_layers
from cache.sources.oci.mirrored import MirroredRepository
from cache.sources.options import SourceOptions
from cache.sources.source import Resolved


def resolve_oci(reference: OciReference, *, options: SourceOptions, wanted: Filter, manifest: bytes = b"") -> Resolved:
    """One manifest request, or none where its bytes are given; no blob is touched. The revision is their digest."""
    repository = MirroredRepository(reference, options=options, network=network_from_env())
    session = repository.session()
    try:
        fetched = (
            read_given(reference, manifest)
            if manifest
            else with_retries(
                lambda: session.manifest(reference.manifest),
                policy=PATIENCE,
                cancel=threading.Event(),
                what=str(repository),
            )
        )
    finally:
        session.close()
    return Resolved(
        reference=replace(reference, digest=fetched.digest),
        revision=str(fetched.digest),
        artifact=read_layers(fetched.manifest, wanted=wanted),
        open_session=lambda _: repository.session(),  # the login is reused for the blobs
        manifest=fetched.body,
    )
