"""What the keys of a Secret mean to sources that are no registries. Pure.

They are named as the variables of each service's own tools, so that `kubectl create secret generic --from-env-file`
makes a Secret of a file that works on a laptop. Which buckets or hosts the credential is for stands in an annotation:
whoever may write a Model must not send it anywhere else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from api import keys
from api.broker import SourceCredential
from api.errors import InvalidRequest, Unauthorized
from api.reference import UrlReference
from cache.sources.hf.hub import hub_address


def for_url(secret: Mapping[str, Any], reference: UrlReference, *, name: str) -> SourceCredential:
    """The Secret's credential for the reference's bucket, host or Hub.

    Raises InvalidRequest or Unauthorized, without any of the content.
    """
    host = reference.location.partition("/")[0]
    found = _Keys(secret, name=name)
    if reference.scheme == "hf":  # goes to the Hub alone, whatever the repository
        _, hub = hub_address()
        return SourceCredential(host=hub.authority, identity_token=found.required("HF_TOKEN"))
    _check_hosts(secret, host, name=name)
    if reference.scheme == "s3":
        return SourceCredential(
            host=host,
            username=found.required("AWS_ACCESS_KEY_ID"),
            password=found.required("AWS_SECRET_ACCESS_KEY"),
            identity_token=found.get("AWS_SESSION_TOKEN"),
            endpoint=found.get("AWS_ENDPOINT_URL"),
            region=found.get("AWS_REGION"),
        )
    if reference.scheme == "gs":
        return SourceCredential(host=host, password=found.required("service-account.json"))
    if reference.scheme == "az":
        account, sas = found.required("AZURE_STORAGE_ACCOUNT_NAME"), found.get("AZURE_STORAGE_SAS_TOKEN")
        key = "" if sas else found.required("AZURE_STORAGE_ACCOUNT_KEY")
        endpoint = found.get("AZURE_STORAGE_ENDPOINT")
        return SourceCredential(host=host, username=account, password=key, identity_token=sas, endpoint=endpoint)
    if token := found.get("token"):
        return SourceCredential(host=host, identity_token=token)
    return SourceCredential(host=host, username=found.required("username"), password=found.required("password"))


class _Keys:
    def __init__(self, secret: Mapping[str, Any], *, name: str) -> None:
        self._data = secret.get("data") or {}
        self._name = name

    def get(self, key: str) -> str:
        try:
            return base64.b64decode(self._data.get(key, ""), validate=True).decode().strip()
        except (TypeError, ValueError, binascii.Error):
            raise InvalidRequest(f"Secret {self._name}: its key {key} is not text") from None

    def required(self, key: str) -> str:
        if value := self.get(key):
            return value
        raise InvalidRequest(f"Secret {self._name} has no key {key}", hint="docs/sources.md lists the keys by source")


def _check_hosts(secret: Mapping[str, Any], host: str, *, name: str) -> None:
    listed = ((secret.get("metadata") or {}).get("annotations") or {}).get(keys.HOSTS, "")
    globs = [glob.strip() for glob in listed.split(",") if glob.strip()]
    if not any(fnmatchcase(host, glob) for glob in globs):
        secret_name = name.rpartition("/")[2]
        raise Unauthorized(
            f"Secret {name} is not for {host}",
            hint=f"if it is: kubectl annotate secret {secret_name} {keys.HOSTS}={host}",
        )
