"""How this process reaches the network: proxies, certificates, time limits."""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from api.errors import InvalidRequest
from cache.http.url import Origin

if TYPE_CHECKING:
    import socket
    import ssl


@dataclass(frozen=True, slots=True)
class Proxy:
    host: str
    port: int
    authorization: str = field(default="", repr=False)  # value of Proxy-Authorization


@dataclass(frozen=True, slots=True)
class Network:
    """Read once from the environment: HTTP_PROXY, HTTPS_PROXY, NO_PROXY (either case), SSL_CERT_FILE, SSL_CERT_DIR."""

    http_proxy: Proxy | None = None
    https_proxy: Proxy | None = None
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None
    ca_dir: str | None = None
    secure: Callable[[socket.socket], ssl.SSLSocket] | None = None  # begins TLS in place of the system's trust
    connect_timeout_s: float = 10.0  # a SYN is repeated after 1, 3 and 7 s; beyond that nobody is there
    stall_s: float = 30.0  # a body or header that brings fewer than `stall_bytes` in this time is given up
    stall_bytes: int = 64 * 1024  # 2 KiB/s: slower than any link worth waiting for, faster than a slow-loris

    def proxy_for(self, origin: Origin) -> Proxy | None:
        """The proxy to ask for ``origin``, or None to connect directly."""
        proxy = self.https_proxy if origin.scheme == "https" else self.http_proxy
        return None if proxy is None or self._is_direct(origin) else proxy

    def _is_direct(self, origin: Origin) -> bool:
        for rule in self.no_proxy:
            host, _, port = rule.rpartition(":") if rule.count(":") == 1 else (rule, "", "")
            if port and port != str(origin.port):
                continue
            if host == "*" or _matches(host, origin.host):
                return True
        return False


def _matches(rule: str, host: str) -> bool:
    """One entry of NO_PROXY: a name (with its subdomains), an address or an address range."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        name = rule.lstrip(".").removeprefix("*.").lower()
        return host == name or host.endswith(f".{name}")


def network_from_env(environ: Mapping[str, str] = os.environ) -> Network:
    """Read the customary variables; the lower-case spelling wins, as in curl."""

    def get(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name) or ""

    everything = get("ALL_PROXY")
    return Network(
        http_proxy=_proxy(get("HTTP_PROXY") or everything),
        https_proxy=_proxy(get("HTTPS_PROXY") or everything),
        no_proxy=tuple(rule.strip() for rule in get("NO_PROXY").split(",") if rule.strip()),
        ca_file=environ.get("SSL_CERT_FILE") or None,
        ca_dir=environ.get("SSL_CERT_DIR") or None,
    )


def _proxy(text: str) -> Proxy | None:
    if not text:
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme != "http" or not parts.hostname:
        raise InvalidRequest(
            f"a proxy of scheme {parts.scheme[:20]!r} is not supported", hint="use http://host:port in HTTPS_PROXY"
        )
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Proxy(parts.hostname, parts.port or 80, authorization)


@cache
def tls_context(ca_file: str | None, ca_dir: str | None) -> ssl.SSLContext:
    """The system's trust, or exactly the given file and folder. Cached: loading the bundle takes 10-30 ms."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file, capath=ca_dir)
    except OSError as error:
        raise InvalidRequest(f"cannot read the certificates in SSL_CERT_FILE={ca_file}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
