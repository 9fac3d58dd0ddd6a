"""Credentials from the user's docker configuration (``docker login`` writes it).

Format: docker's config.json; helpers speak the docker-credential-helpers protocol.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.errors import InvalidRequest, Unauthorized
from cache.sources.options import Credential

DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9._-]+")
_HELPER_TIMEOUT_S = 60.0  # a helper may ask a cloud's API, or a person to touch a key
_TOKEN_USER = "<token>"  # noqa: S105  what helpers call the user of an identity token


def docker_credential(host: str, *, environ: Mapping[str, str] = os.environ) -> Credential | None:
    """The credential that docker would use for ``host``, or None.

    Order as in docker: a helper for the host, the default store, then the file itself.
    Raises InvalidRequest when the file cannot be read, Unauthorized when a helper fails.
    """
    folder = environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"cannot read {path}: {type(error).__name__}",
            hint="it is docker's; correct it, or remove it and log in again",
        ) from error
    if not isinstance(config, dict):
        raise InvalidRequest(f"{path} is not a docker configuration")
    keys = _keys(host)
    helpers = config.get("credHelpers") or {}
    helper = next((helpers[key] for key in keys if key in helpers), None)
    if helper or config.get("credsStore"):
        found = _from_helper(str(helper or config["credsStore"]), keys[0], host=host)
        if found is not None:
            return found
    return _from_auths(config, host=host)


def stored_login(document: str, *, host: str) -> Credential | None:
    """The login for ``host`` that the text of a docker configuration holds itself; helpers are not run.

    Raises InvalidRequest, without any of the content, for what is no such text.
    """
    try:
        config = json.loads(document)
    except ValueError:
        raise InvalidRequest("not a docker configuration") from None  # the decoder's error keeps the whole text
    if not isinstance(config, dict):
        raise InvalidRequest("not a docker configuration")
    return _from_auths(config, host=host)


def _keys(host: str) -> list[str]:
    """The names under which a configuration may know the host."""
    return [_HUB_KEY, *DOCKER_HUB] if host in DOCKER_HUB else [host, f"https://{host}", f"https://{host}/v1/"]


def _from_auths(config: dict[str, Any], *, host: str) -> Credential | None:
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return None
    entries = (_from_entry(auths[key], host=host) for key in _keys(host) if isinstance(auths.get(key), dict))
    return next((entry for entry in entries if entry is not None), None)


def _from_entry(entry: dict[str, Any], *, host: str) -> Credential | None:
    token = str(entry.get("identitytoken") or "")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, ValueError, TypeError) as error:
            raise InvalidRequest(f"the docker configuration's entry for {host} cannot be decoded") from error
    if not (token or username):
        return None
    return Credential(host=host, username=username, password=password.rstrip("\0"), identity_token=token)


def _from_helper(name: str, key: str, *, host: str) -> Credential | None:
    if not _HELPER.fullmatch(name):
        raise InvalidRequest(f"the docker configuration names a credential helper {name[:40]!r}")
    import subprocess  # dear to import, and not needed where no helper is configured

    try:
        done = subprocess.run(  # noqa: S603  the user's own configuration names the helper; no shell is involved
            [f"docker-credential-{name}", "get"],
            input=key.encode(),
            capture_output=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unauthorized(f"docker-credential-{name} cannot be run: {type(error).__name__}") from error
    if done.returncode != 0:
        # The protocol has no exit code for "nothing stored", only this text; anything else is a failure to tell.
        if b"credentials not found" in done.stdout + done.stderr:
            return None
        raise Unauthorized(f"docker-credential-{name} failed with exit code {done.returncode}")
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unauthorized(f"docker-credential-{name} gave an answer that cannot be read") from error
    if username == _TOKEN_USER:
        return Credential(host=host, identity_token=secret)
    return Credential(host=host, username=username, password=secret) if username else None
