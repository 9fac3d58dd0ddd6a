"""What a reference means now: its revision, and the files behind it."""

from __future__ import annotations

from collections.abc import Sequence

from api.errors import UnsupportedSource
from api.reference import OciReference, Reference
from cache.sources.artifact import Filter
from cache.sources.options import SourceOptions
from cache.sources.source import Resolved


def resolve(
    reference: Reference, *, options: SourceOptions, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Resolved:
    """Ask the source what ``reference`` names; no file is touched.

    Raises NotFound, Unauthorized, Forbidden, SourceUnavailable, SourceChanged (a pinned reference that the source does
    not serve any more), InvalidArtifact or UnsupportedSource.
    """
    return resolve_wanted(reference, options=options, wanted=Filter(tuple(include), tuple(exclude)))


def resolve_wanted(reference: Reference, *, options: SourceOptions, wanted: Filter) -> Resolved:
    """``resolve`` with a filter that was made before. Each source is imported when it is first needed."""
    if isinstance(reference, OciReference):
        from cache.sources.oci.source import resolve_oci

        return resolve_oci(reference, options=options, wanted=wanted)
    if reference.scheme == "hf":
        from cache.sources.hf.source import resolve_hf

        return resolve_hf(reference, options=options, wanted=wanted)
    if reference.scheme in ("s3", "gs", "az"):
        from cache.sources.objects.cloud import resolve_cloud

        return resolve_cloud(reference, options=options, wanted=wanted)
    if reference.scheme == "https":
        from cache.sources.objects.web import resolve_web

        return resolve_web(reference, options=options, wanted=wanted)
    from cache.sources.objects.drivers import resolve_driver

    return resolve_driver(reference, options=options, wanted=wanted)


def require_oci(reference: Reference) -> OciReference:
    if isinstance(reference, OciReference):
        return reference
    raise UnsupportedSource(f"{reference.scheme}:// takes no push", hint="use an oci:// reference")
