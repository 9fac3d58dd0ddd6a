"""The credential of a Model: a Secret of its own namespace, read when it is needed and never kept.

For registries, Secrets are of type kubernetes.io/dockerconfigjson, as imagePullSecrets are. Only the entry for the
source's own host is taken, so that a Secret with many logins tells each host only its own. For others: secret_keys.py.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from typing import Any

import msgspec

from api.broker import SourceCredential
from api.errors import InvalidRequest, NotFound, SecretNotGranted, Unauthorized
from api.reference import OciReference, Reference
from api.resources import Model
from controller.models.secret_keys import for_url
from kube.client import ApiError, Client
from kube.resources import SECRET

_KEY = ".dockerconfigjson"


async def credential(client: Client, model: Model, *, reference: Reference) -> SourceCredential | None:
    """The Model's credential for the host of ``reference``; None where the Model names no Secret, or none of its
    pull secrets is for that host.

    Raises SecretNotGranted, NotFound, InvalidRequest, Unauthorized, ApiError or ClusterUnavailable.
    """
    namespace = model.metadata.namespace
    if model.spec.secret_ref is not None:
        return await _read(client, namespace, model.spec.secret_ref.name, reference)
    for name in model.spec.pull_secrets:
        # As kubelet: one that is missing, or for other hosts, does not keep it from the next.
        with suppress(NotFound, Unauthorized):
            return await _read(client, namespace, name, reference)
    return None


async def _read(client: Client, namespace: str, name: str, reference: Reference) -> SourceCredential:
    try:
        secret = await client.get(SECRET, name, namespace=namespace)
    except ApiError as error:
        if error.status == 403:
            raise SecretNotGranted(
                f"the controller may not read Secret {namespace}/{name}",
                hint=f"bind ClusterRole warmset-secret-reader in {namespace} to the controller's service account",
            ) from error
        if error.status == 404:
            raise NotFound(f"Secret {namespace}/{name} does not exist") from error
        raise
    return for_host(secret, reference, name=f"{namespace}/{name}")


def for_host(secret: dict[str, Any], reference: Reference, *, name: str) -> SourceCredential:
    """The entry for the reference's host. Raises InvalidRequest or Unauthorized, without any of the content."""
    if not isinstance(reference, OciReference):
        return for_url(secret, reference, name=name)
    try:
        content = msgspec.json.decode(base64.b64decode(secret["data"][_KEY], validate=True))
        entries = {_host(server): entry for server, entry in content["auths"].items()}
        entry = entries.get(_host(reference.host))
        parsed = None if entry is None else _parse(reference.host, entry)
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error, msgspec.DecodeError):
        # Not chained: the decoders' messages may quote what they read.
        raise InvalidRequest(
            f"Secret {name} is not a readable kubernetes.io/dockerconfigjson",
            hint="make it with `kubectl create secret docker-registry`",
        ) from None
    if parsed is None:
        raise Unauthorized(f"Secret {name} has no login for {reference.host}")
    return parsed


def _parse(host: str, entry: dict[str, str]) -> SourceCredential:
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    return SourceCredential(
        host=host, username=username, password=password, identity_token=entry.get("identitytoken", "")
    )


def _host(server: str) -> str:
    """``https://index.docker.io/v1/`` and ``docker.io`` are one host (docker/cli, ConvertToHostname)."""
    host = server.partition("://")[2] or server
    host = host.partition("/")[0]
    return "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host
