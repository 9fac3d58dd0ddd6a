"""OCI registries as a source."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from api.digest import Digest
from api.errors import DigestMismatch, InvalidArtifact
from api.reference import OciReference
from cache.http.network import network_from_env
from cache.http.retry import PATIENCE, with_retries
from cache.sources.artifact import Filter
from cache.sources.oci.given import read_given
from cache.sources.oci.layers import read_layers
from cache.sources.oci.manifest import Descriptor
from cache.sources.oci.mirrored import MirroredRepository
from cache.sources.oci.modelkit import MAX_KITFILE_BYTES, lacks_model, refuse_parent
from cache.sources.options import SourceOptions
from cache.sources.source import Resolved, Session

T = TypeVar("T")


def resolve_oci(reference: OciReference, *, options: SourceOptions, wanted: Filter, manifest: bytes = b"") -> Resolved:
    """One manifest request, or none where its bytes are given; no blob but a ModelKit's own description is touched.

    The revision is the manifest's digest."""
    repository = MirroredRepository(reference, options=options, network=network_from_env())
    session = repository.session()

    def ask(question: Callable[[], T]) -> T:
        return with_retries(question, policy=PATIENCE, cancel=threading.Event(), what=str(repository))

    try:
        fetched = read_given(reference, manifest) if manifest else ask(lambda: session.manifest(reference.manifest))
        if lacks_model(fetched.manifest):
            refuse_parent(ask(lambda: _read_config(session, fetched.manifest.config)))
    finally:
        session.close()
    return Resolved(
        reference=replace(reference, digest=fetched.digest),
        revision=str(fetched.digest),
        artifact=read_layers(fetched.manifest, wanted=wanted),
        open_session=lambda _: repository.session(),  # the login is reused for the blobs
        manifest=fetched.body,
    )


def _read_config(session: Session, config: Descriptor) -> bytes:
    if not 0 < config.size <= MAX_KITFILE_BYTES:
        raise InvalidArtifact(f"the artifact's config of {config.size} bytes cannot be read")
    digest = Digest.parse(config.digest)
    body = session.open(digest, size=config.size, start=0, stop=config.size)
    data, filled = memoryview(bytearray(config.size)), 0
    try:
        while filled < config.size:
            got = body.readinto(data[filled:])
            if not got:
                raise ConnectionResetError("the config ended early")
            filled += got
    finally:
        body.close()
    if hashlib.sha256(data).hexdigest() != digest.hex:
        raise DigestMismatch(f"expected {digest}, got other bytes")
    return bytes(data)
