"""Every other scheme through fsspec, with whatever driver the user has: sftp://, hdfs://, github://, file://, ...

Such a driver reaches whatever this machine reaches, with this machine's own rights, so it serves only its user, never
a cluster's pods. Nothing it says is taken for granted: its http driver gives a whole body for a range.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api.errors import Forbidden, InvalidReference, NotFound, SourceUnavailable, UnsupportedSource, WarmsetError
from api.reference import UrlReference
from cache.http.retry import PATIENCE, with_retries
from cache.sources.artifact import Filter
from cache.sources.objects.listing import Listed, Listing
from cache.sources.objects.pieces import PieceSession
from cache.sources.options import SourceOptions
from cache.sources.source import Resolved

# What drivers call the version of an object, best first.
_VERSIONS = (
    "version_id",
    "generation",
    "ETag",
    "etag",
    "e_tag",
    "sha",
    "md5",
    "mtime",
    "LastModified",
    "last_modified",
)


def resolve_driver(reference: UrlReference, *, options: SourceOptions, wanted: Filter) -> Resolved:
    """One listing. The revision is the digest of the listing."""
    place = reference.place
    if not options.ambient:
        raise UnsupportedSource(f"{reference.scheme}:// is not read in a cluster", hint="push the model to a registry")
    if "::" in place or reference.scheme in ("http", "local"):
        raise InvalidReference(f"{place[:120]!r} is not read", hint="chains and http:// are left out; use https://")
    fs, root = _driver(place)
    listing = with_retries(
        lambda: Listing.of(_list(fs, root, place=place), reference=reference),
        policy=PATIENCE,
        cancel=threading.Event(),
        what=place,
    )

    def read(listed: Listed, start: int, stop: int) -> memoryview:
        with _named(f"{place}: {listed.path[:120]}"):
            return memoryview(fs.cat_file(listed.name, start=start, end=stop))

    return Resolved(
        reference=reference.pinned(listing.revision),
        revision=listing.revision,
        artifact=listing.artifact(wanted=wanted),
        open_session=lambda artifact: PieceSession(read, listing.located(artifact)),
    )


def _driver(place: str) -> tuple[Any, str]:
    import fsspec.core

    with _named(place):  # some connect at once
        try:
            fs, root = fsspec.core.url_to_fs(place)
        except (ValueError, ImportError) as error:
            scheme = place.partition("://")[0]
            raise UnsupportedSource(
                f"there is no driver for {scheme}://", hint="install one: filesystem-spec.readthedocs.io lists them"
            ) from error
    return fs, str(root)


def _list(fs: Any, root: str, *, place: str) -> Iterator[Listed]:
    with _named(place):
        fs.invalidate_cache()  # drivers remember listings, and a moved file is what we must notice
        found = fs.find(root, detail=True)
    base = root.rstrip("/")
    for name, info in sorted(found.items()):
        path = name.rpartition("/")[2] if name.rstrip("/") == base else name.removeprefix(f"{base}/")
        size = info.get("size")
        if not isinstance(size, int):
            raise UnsupportedSource(f"{place}: the driver does not say how long {path[:120]!r} is")
        version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
        yield Listed(path.lstrip("/"), name, size, version=version)


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except WarmsetError:
        raise
    except FileNotFoundError as error:
        raise NotFound(f"{what}: no such file") from error
    except PermissionError as error:
        raise Forbidden(f"{what}: the driver is refused", hint="check this machine's own login there") from error
    except Exception as error:  # a driver may raise anything; its text may hold anything, a password included
        raise SourceUnavailable(
            f"{what}: the driver fails with {type(error).__name__}",
            hint="see whether fsspec itself reads it from here: host, network, login",
        ) from error
