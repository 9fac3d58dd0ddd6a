"""s3://, gs:// and az:// through obstore."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from api.errors import (
    Forbidden,
    InvalidReference,
    NotFound,
    RateLimited,
    SourceChanged,
    SourceUnavailable,
    Unauthorized,
)
from api.reference import UrlReference
from cache.http.retry import PATIENCE, with_retries
from cache.sources.artifact import Filter
from cache.sources.objects.buckets import open_bucket
from cache.sources.objects.listing import Listed, Listing
from cache.sources.objects.pieces import PieceSession
from cache.sources.options import SourceOptions
from cache.sources.source import Resolved

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_STATUS = re.compile(r"non-2xx status code: ([0-9]{3})\b")
_CLOCK = "RequestTimeTooSkewed"
_REFUSED_LOGINS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthenticationFailed",
)


def resolve_cloud(reference: UrlReference, *, options: SourceOptions, wanted: Filter) -> Resolved:
    """One listing. The revision is the digest of the listing: names, sizes, ETags and versions."""
    bucket, _, prefix = reference.location.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidReference(f"{bucket[:120]!r} is not a bucket", hint=f"write {reference.scheme}://bucket/prefix")
    store = open_bucket(reference.scheme, bucket, options=options)
    place = reference.place
    listing = with_retries(
        lambda: Listing.of(_list(store, prefix.strip("/"), place=place), reference=reference),
        policy=PATIENCE,
        cancel=threading.Event(),
        what=place,
    )

    def read(listed: Listed, start: int, stop: int) -> memoryview:
        return _read(store, listed, start=start, stop=stop, place=place)

    return Resolved(
        reference=reference.pinned(listing.revision),
        revision=listing.revision,
        artifact=listing.artifact(wanted=wanted),
        open_session=lambda artifact: PieceSession(read, listing.located(artifact)),
    )


def _list(store: ObjectStore, prefix: str, *, place: str) -> Iterator[Listed]:
    import obstore

    with _named(place):
        empty = True
        for page in obstore.list(store, prefix=prefix or None):
            for meta in page:
                empty = False
                yield _listed(meta, meta["path"].removeprefix(f"{prefix}/") if prefix else meta["path"])
        if empty and prefix:  # not a folder: perhaps one object
            yield _listed(obstore.head(store, prefix), prefix.rpartition("/")[2])


def _listed(meta: ObjectMeta, path: str) -> Listed:
    return Listed(path, meta["path"], meta["size"], meta.get("e_tag") or "", meta.get("version") or "")


def _read(store: ObjectStore, listed: Listed, *, start: int, stop: int, place: str) -> memoryview:
    """Exactly this range of exactly this version. Raises SourceChanged when it is not there any more.

    The answer's ETag is compared too: some servers (fake-gcs-server is one) ignore the condition.
    """
    import obstore

    options: dict[str, Any] = {"range": (start, stop)}
    if listed.etag:
        options["if_match"] = listed.etag
    if listed.version:
        options["version"] = listed.version
    with _named(f"{place}: {listed.path[:120]}"):
        result = obstore.get(store, listed.name, options=options)  # type: ignore[arg-type]  # keys as documented
        answered = result.meta.get("e_tag") or ""
        if listed.etag and answered and _bare(answered) != _bare(listed.etag):
            raise _changed(f"{place}: {listed.path[:120]}")
        if result.range != (start, stop) or result.meta["size"] != listed.size:
            raise SourceUnavailable(f"{place}: {listed.path[:120]}: asked for another range than was sent")
        return memoryview(result.bytes())


def _bare(etag: str) -> str:
    """Azure quotes its ETags in answers and not in listings."""
    return etag.removeprefix("W/").strip('"')


def _changed(what: str) -> SourceChanged:
    return SourceChanged(f"{what}: was overwritten while it was read", hint="pull again to take the new version")


@contextmanager
def _named(what: str) -> Iterator[None]:
    """The library's errors as ours. Their texts may hold a signed address, so only status and code are taken over."""
    from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{what}: no such bucket or object", hint="check the name") from error
    except PreconditionError as error:
        raise _changed(what) from error
    except (BaseError, TimeoutError) as error:
        code = _code(error)
        status = _status(error)
        if code in _REFUSED_LOGINS:
            raise Unauthorized(f"{what}: the store refuses the credential ({code})", hint="renew it") from error
        if status in (401, 403) or isinstance(error, PermissionDeniedError | UnauthenticatedError):
            hint = "set this machine's clock" if code == _CLOCK else "the credential needs the right to list and read"
            kind = Unauthorized if status == 401 or isinstance(error, UnauthenticatedError) else Forbidden
            raise kind(f"{what}: the store refuses{code and f' ({code})'}", hint=hint) from error
        if code in ("SlowDown", "TooManyRequests") or status == 429:
            raise RateLimited(f"{what}: the store asks to slow down", retry_after_s=1.0) from error
        if status == 416:  # only what the listing promised is asked for
            raise _changed(what) from error
        if code in ("NoSuchBucket", "ContainerNotFound"):
            raise NotFound(f"{what}: there is no such bucket", hint="check the name") from error
        raise SourceUnavailable(f"{what}: {type(error).__name__}{code and f' ({code})'}") from error


def _code(error: Exception) -> str:
    """The store's own code (S3 and alike answer in XML), or nothing."""
    found = _CODE.search(str(error))
    return found.group(1) if found else ""


def _status(error: Exception) -> int:
    """The answer's status, which the library gives in its text alone where it lists; 0 where there is none."""
    found = _STATUS.search(str(error))
    return int(found.group(1)) if found else 0
