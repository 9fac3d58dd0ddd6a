"""Logging in to a registry: Basic, and Bearer tokens a scope with their expiry (distribution spec, token auth)."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from api.errors import Unauthorized
from cache.http.client import Client
from cache.http.url import Origin, Url, parse_url
from cache.sources.oci.challenge import Challenge, may_see_credential, parse_challenges
from cache.sources.oci.errors import check_status
from cache.sources.options import Credential

_MAX_TOKEN_BYTES = 1 << 20
_DEFAULT_LIFE_S = 60.0  # distribution spec, token auth: assumed where expires_in is missing
_EARLY_S = 10.0  # renewed this long before it ends, so that it does not end on its way
CLIENT_ID = "warmset"

Find = Callable[[], Credential | None]


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    until_s: float


class Login:
    """Authorization headers for one registry. Shared by threads: one asks for a token, the others wait for it."""

    def __init__(self, registry: Origin, *, find: Find, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._find = find
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, _Token] = {}  # by scope
        self._basic = ""
        self._credential: Credential | None = None
        self._searched = False

    def header(self, scope: str) -> str:
        """The Authorization to send at once for ``scope``, or nothing where the registry has not asked yet."""
        with self._lock:
            return self._current(scope)

    def _current(self, scope: str) -> str:
        token = self._tokens.get(scope)
        if token is not None and self._clock() < token.until_s:
            return token.header
        return self._basic

    def answer(self, client: Client, challenge: str, *, scope: str, refused: str) -> str:
        """The Authorization that answers a 401, after ``refused`` (what was sent, or nothing) was not good enough.

        Raises Unauthorized where there is nothing better to send.
        """
        with self._lock:
            current = self._current(scope)
            if current and current != refused:
                return current  # another thread was faster
            self._tokens.pop(scope, None)
            credential = self._find_once()
            for offered in parse_challenges(challenge):
                if offered.scheme == "bearer":
                    token = self._fetch(client, offered, scope=scope, credential=credential)
                    self._tokens[scope] = token
                    return token.header
                if offered.scheme == "basic":
                    return self._answer_basic(credential, refused=refused)
            raise Unauthorized(f"{self._registry.authority} asks for a kind of login that is not supported")

    def _find_once(self) -> Credential | None:
        if not self._searched:
            self._credential = self._find()
            self._searched = True
        return self._credential

    def _answer_basic(self, credential: Credential | None, *, refused: str) -> str:
        if credential is None or not credential.username:
            raise self._missing()
        header = _basic(credential)
        if header == refused:
            raise Unauthorized(f"{self._registry.authority} refuses the user and password it got")
        self._basic = header
        return header

    def _missing(self) -> Unauthorized:
        host = self._registry.authority
        return Unauthorized(f"{host} asks for credentials and there are none for it", hint=f"docker login {host}")

    def _fetch(self, client: Client, offered: Challenge, *, scope: str, credential: Credential | None) -> _Token:
        realm = self._realm(offered)
        trusted = may_see_credential(realm, registry=self._registry)
        known = credential if trusted else None
        # What the challenge names may be wider than what we need; ask for what we need.
        query = {"service": offered.parameters.get("service", ""), "scope": scope}
        query = {name: value for name, value in query.items() if value}
        guarded = realm.origin.host != self._registry.host
        if known is not None and known.identity_token:
            form = {**query, "grant_type": "refresh_token", "refresh_token": known.identity_token}
            response = client.request(
                "POST",
                realm,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode({**form, "client_id": CLIENT_ID}).encode(),
                guarded=guarded,
            )
        else:
            separator = "&" if "?" in realm.target else "?"
            several = {**query, "scope": scope.split()}  # one parameter each (token auth specification)
            url = Url(realm.origin, f"{realm.target}{separator}{urlencode(several, doseq=True)}")
            headers = {"Authorization": _basic(known)} if known is not None else {}
            response = client.request("GET", url, headers=headers, guarded=guarded)
        if response.status in (401, 403):
            response.close()
            if credential is None:
                raise self._missing()
            if not trusted:
                raise Unauthorized(
                    f"{self._registry.authority} sends us to {realm.origin} for a token; "
                    "its credential is not shown to a foreign host"
                )
            raise Unauthorized(f"{realm.origin} refuses the credential for {self._registry.authority}")
        check_status(response, what=f"token from {realm.origin}")
        return self._read(response.read(_MAX_TOKEN_BYTES), realm=realm)

    def _realm(self, offered: Challenge) -> Url:
        text = offered.parameters.get("realm", "")
        if not text.startswith(("https://", "http://")):
            raise Unauthorized(f"{self._registry.authority} names no token service")
        realm = parse_url(text)
        if realm.origin.scheme == "http" and self._registry.scheme == "https":
            raise Unauthorized(f"{self._registry.authority} names a token service without TLS; refused")
        return realm

    def _read(self, body: bytes, *, realm: Url) -> _Token:
        try:
            answer = json.loads(body)
            token = answer.get("token") or answer.get("access_token")
            life_s = float(answer.get("expires_in") or _DEFAULT_LIFE_S)
        except (ValueError, AttributeError, TypeError) as error:
            raise Unauthorized(f"{realm.origin} gave an answer that is no token") from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise Unauthorized(f"{realm.origin} gave an answer that is no token")
        return _Token(f"Bearer {token}", self._clock() + max(life_s - _EARLY_S, 0.0))


def _basic(credential: Credential) -> str:
    pair = f"{credential.username}:{credential.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
