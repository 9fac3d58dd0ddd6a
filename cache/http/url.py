"""URLs, read once into values."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from api.errors import SourceUnavailable

_PORTS = {"http": 80, "https": 443}
_SAFE = "/?:@!$&'()*+,;=%-._~[]"  # RFC 3986: what a target may hold as it stands


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: who a credential is for (RFC 6454)."""

    scheme: str
    host: str  # lower case, IPv6 without brackets
    port: int

    @property
    def authority(self) -> str:
        """The value of a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https URL. ``str()`` leaves the query out, because a signed one is a credential."""

    origin: Origin
    target: str  # path and query, escaped

    def __str__(self) -> str:
        return f"{self.origin}{self.target.partition('?')[0]}"

    @property
    def full(self) -> str:
        """With the query: for requests, never for messages."""
        return f"{self.origin}{self.target}"


def parse_url(text: str) -> Url:
    """Read an absolute http(s) URL. Raises SourceUnavailable: such URLs come from servers, not from users."""
    try:
        parts = urlsplit(text)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode().lower() if not _is_ip6(parts.hostname) else parts.hostname
    except (ValueError, UnicodeError) as error:
        raise SourceUnavailable("the server named a URL that cannot be read") from error
    if parts.scheme not in _PORTS or not host:
        raise SourceUnavailable(f"the server named a URL that is not http or https: {parts.scheme[:20]!r}")
    if parts.username is not None or parts.password is not None:
        raise SourceUnavailable("the server named a URL with credentials in it")
    target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    return Url(Origin(parts.scheme, host, port or _PORTS[parts.scheme]), target)


def join_url(base: Url, location: str) -> Url:
    """``location`` as seen from ``base`` (RFC 9110 §10.2.2)."""
    try:
        target = urljoin(base.full, location)
    except ValueError as error:
        raise SourceUnavailable("the server named a URL that cannot be read") from error
    return parse_url(target)


def _is_ip6(host: str | None) -> bool:
    return host is not None and ":" in host
