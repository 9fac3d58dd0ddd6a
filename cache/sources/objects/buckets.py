"""Whose credential opens a bucket, and where it leads."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from api.errors import InvalidRequest, Unauthorized
from cache.sources.options import Credential, SourceOptions

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_LABEL = re.compile(r"[A-Za-z0-9._-]{0,63}")  # what may become a part of a service's address
_ENDPOINTS: Mapping[str, tuple[str, ...]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_GOOGLE = "https://storage.googleapis.com"


def open_bucket(
    scheme: str, bucket: str, *, options: SourceOptions, environ: Mapping[str, str] = os.environ
) -> ObjectStore:
    """The credential for this bucket; else the user's own environment where that is allowed; else nobody's.

    The library reads the environment by itself, whatever it is given: each branch below shuts out what is not ours to
    use. Where a bucket's service is (AWS_ENDPOINT_URL and alike) is an administrator's choice and always read, unless
    the credential says it.
    """
    given = options.credential if options.credential is not None and options.credential.host == bucket else None
    if given is not None and not all(map(_LABEL.fullmatch, (given.region, given.username if scheme == "az" else ""))):
        raise _refused(scheme, bucket)
    anonymous = given is None and not options.ambient
    named = (given.endpoint if given is not None else "", *(environ.get(name, "") for name in _ENDPOINTS[scheme]))
    endpoint = next(filter(None, named), "")
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
            if environ.get("GOOGLE_BEARER_TOKEN"):  # the library would send it instead, and has no setting against that
                raise InvalidRequest(
                    f"gs://{bucket}: GOOGLE_BEARER_TOKEN is set here and would go before the credential",
                    hint="take it out of the environment of agent and controller",
                )
            common |= {"service_account_key": given.password, "skip_signature": False}
            common["base_url"] = endpoint or _GOOGLE  # else the key's own gcs_base_url would say where to connect
        elif anonymous:
            common["skip_signature"] = True
    elif given is not None:
        if given.identity_token:
            common |= {"credential_type": "sas_token", "sas_key": given.identity_token}
        else:
            common |= {"credential_type": "access_key", "account_key": given.password}
        common |= {"account_name": given.username, "skip_signature": False, "use_emulator": False}
        if given.endpoint:
            common["endpoint"] = given.endpoint
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
        raise _refused(scheme, bucket) from None


def _refused(scheme: str, bucket: str) -> InvalidRequest:
    return InvalidRequest(
        f"{scheme}://{bucket} cannot be opened with this credential", hint="docs/sources.md says what it is made of"
    )


def _s3_credential(given: Credential) -> Any:
    return {
        "access_key_id": given.username,
        "secret_access_key": given.password,
        "token": given.identity_token or None,
        "expires_at": None,
    }
