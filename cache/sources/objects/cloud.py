"""s3://, gs:// and az:// through obstore."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from api.errors import (
    Forbidden,
    InvalidReference,
    InvalidRequest,
    NotFound,
    RateLimited,
    SourceChanged,
    SourceUnavailable,
    Unauthorized,
)
from api.reference import UrlReference
from cache.http.retry import PATIENCE, with_retries
from cache.sources.artifact import Filter
from cache.sources.objects.listing import Listed, Listing
from cache.sources.objects.pieces import PieceSession
from cache.sources.options import Credential, SourceOptions
from cache.sources.source import Resolved

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_STATUS = re.compile(r"non-2xx status code: ([0-9]{3})\b")
_CLOCK = "RequestTimeTooSkewed"
_REFUSED_LOGINS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")


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


def open_bucket(
    scheme: str, bucket: str, *, options: SourceOptions, environ: Mapping[str, str] = os.environ
) -> ObjectStore:
    """The credential for this bucket; else the user's own environment where that is allowed; else nobody's.

    The library reads the environment by itself, whatever it is given: each branch below shuts out what is not ours to
    use. Where a bucket's service is (AWS_ENDPOINT_URL) is an administrator's choice and always read, unless the
    credential says it.
    """
    given = options.credential if options.credential is not None and options.credential.host == bucket else None
    anonymous = given is None and not options.ambient
    endpoint = given.endpoint if given is not None else ""
    endpoint = endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    host = endpoint.partition("://")[2].partition("/")[0]
    common: dict[str, Any] = {
        "client_options": {
            "timeout": "30s",  # of one piece
            "connect_timeout": "10s",
            "allow_http": options.ambient or host in options.plain_http,
        },
        "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=30)},  # our own policy does the rest
    }
    if scheme == "s3":
        if given is not None:
            common["credential_provider"] = lambda: _s3_credential(given)
            if given.endpoint:
                common["endpoint"] = given.endpoint
            if given.region:
                common["region"] = given.region
        elif anonymous:
            common["skip_signature"] = True
    elif scheme == "gs":
        if given is not None:
            common["service_account_key"] = given.password
        elif anonymous:
            common["skip_signature"] = True
    elif given is not None:
        login = {"sas_key": given.identity_token} if given.identity_token else {"account_key": given.password}
        common |= {"account_name": given.username, **login}
    elif anonymous:
        raise Unauthorized("a container on Azure needs its account's name", hint="give a credential for it")
    return _make(scheme, bucket, common)


def _make(scheme: str, bucket: str, settings: dict[str, Any]) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, S3Store

    kinds: dict[str, Callable[..., ObjectStore]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    try:
        return kinds[scheme](bucket, **settings)
    except (BaseError, ValueError):  # not chained: their texts may quote what they read
        raise InvalidRequest(
            f"{scheme}://{bucket} cannot be opened with this credential", hint="docs/sources.md says what it is made of"
        ) from None


def _s3_credential(given: Credential) -> Any:
    return {
        "access_key_id": given.username,
        "secret_access_key": given.password,
        "token": given.identity_token or None,
        "expires_at": None,
    }


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
    """Exactly this range of exactly this version. Raises SourceChanged when it is not there any more."""
    import obstore

    options: dict[str, Any] = {"range": (start, stop)}
    if listed.etag:
        options["if_match"] = listed.etag
    if listed.version:
        options["version"] = listed.version
    with _named(f"{place}: {listed.path[:120]}"):
        result = obstore.get(store, listed.name, options=options)  # type: ignore[arg-type]  # keys as documented
        if result.range != (start, stop) or result.meta["size"] != listed.size:
            raise SourceUnavailable(f"{place}: {listed.path[:120]}: asked for another range than was sent")
        return memoryview(result.bytes())


@contextmanager
def _named(what: str) -> Iterator[None]:
    """The library's errors as ours. Their texts may hold a signed address, so only status and code are taken over."""
    from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{what}: no such bucket or object", hint="check the name") from error
    except PreconditionError as error:
        raise SourceChanged(
            f"{what}: was overwritten while it was read", hint="pull again to take the new version"
        ) from error
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
