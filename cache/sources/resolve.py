"""What a reference means now: its revision, and the files behind it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from api.errors import UnsupportedSource
from api.reference import OciReference, Reference
from api.tree import Tree
from cache.http.network import network_from_env
from cache.http.retry import RetryPolicy, with_retries
from cache.sources.artifact import Artifact, Filter
from cache.sources.oci.layers import read_layers
from cache.sources.oci.registry import Repository
from cache.sources.options import SourceOptions

# Somebody waits for the answer: a person, or a reconcile loop that asks again by itself.
_PATIENCE = RetryPolicy(attempts=4, first_s=0.2, longest_s=2.0)


@dataclass(frozen=True, slots=True)
class Resolved:
    """``bytes`` and ``files`` count what is to be fetched: an archive counts as one file until it is unpacked.

    ``tree`` is known when every layer is a plain file.
    """

    reference: OciReference  # pinned to the revision
    revision: str  # sha256:<hex> of the manifest
    bytes: int
    files: int
    tree: Tree | None
    artifact: Artifact = field(repr=False)


def resolve(
    reference: Reference, *, options: SourceOptions, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Resolved:
    """Ask the source what ``reference`` names. One manifest request; no blob is touched.

    Raises NotFound, Unauthorized, Forbidden, SourceUnavailable, InvalidArtifact or UnsupportedSource.
    """
    repository = open_repository(reference, options=options)
    return resolve_in(repository, reference, wanted=Filter(tuple(include), tuple(exclude)))


def open_repository(reference: Reference, *, options: SourceOptions) -> Repository:
    """Where a reference lives. Raises UnsupportedSource for a scheme that this version cannot read."""
    return Repository(require_oci(reference), options=options, network=network_from_env())


def require_oci(reference: Reference) -> OciReference:
    if isinstance(reference, OciReference):
        return reference
    raise UnsupportedSource(f"{reference.scheme}:// cannot be read by this version", hint="use an oci:// reference")


def resolve_in(repository: Repository, reference: Reference, *, wanted: Filter) -> Resolved:
    """``resolve`` within an open repository, whose login is then reused for the blobs."""
    oci = require_oci(reference)
    session = repository.session()
    try:
        fetched = with_retries(
            lambda: session.manifest(oci.manifest), policy=_PATIENCE, cancel=threading.Event(), what=str(repository)
        )
    finally:
        session.close()
    artifact = read_layers(fetched.manifest, wanted=wanted)
    return Resolved(
        reference=replace(oci, digest=fetched.digest),
        revision=str(fetched.digest),
        bytes=artifact.size,
        files=len(artifact.files) + len(artifact.archives),
        tree=artifact.tree,
        artifact=artifact,
    )
