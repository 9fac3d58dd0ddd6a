"""Requests over kept connections, with redirects followed by hand."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from api.errors import SourceUnavailable
from cache.http.connection import Body, Connection, dial
from cache.http.guard import Reach
from cache.http.network import Network
from cache.http.response import Response
from cache.http.url import Origin, Url, join_url

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CREDENTIALS = frozenset({"authorization", "cookie"})
_BASE_HEADERS = {"User-Agent": "warmset", "Accept-Encoding": "identity"}


class Client:
    """Keeps one idle connection an origin. Owned by one thread; only ``abort`` may come from another."""

    def __init__(self, network: Network, *, reach: Reach = Reach.LOCAL) -> None:
        """``reach`` is how far inside a host may lie that whoever we work for has named; see ``request``."""
        self._network = network
        self._reach = reach
        self._connections: dict[Origin, Connection] = {}
        self._lock = threading.Lock()  # guards the dict and the flag against abort()
        self._aborted = False

    def request(
        self,
        method: str,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        guarded: bool = False,
    ) -> Response:
        """Send a request and return the answer, whatever its status; redirects of GET and HEAD are followed.

        ``Authorization`` goes to the origin of ``url`` only. Redirects from https to http, and a sixth, are refused.
        A host that a server has named, not whoever we work for (a redirect to another one, or ``url`` where
        ``guarded``), must not be this machine or a metadata service, and may be private only where ours may.
        Raises Forbidden, SourceUnavailable (bad redirect, no connection) or OSError (the connection broke).
        """
        first = url.origin
        sent = {**_BASE_HEADERS, **(headers or {})}
        for hops in range(MAX_REDIRECTS + 1):
            away = url.origin != first
            allowed = {k: v for k, v in sent.items() if not (away and k.lower() in _CREDENTIALS)}
            foreign = guarded or (away and url.origin.host != first.host)
            reach = min(self._reach, Reach.PRIVATE) if foreign else self._reach
            response = self._send(method, url, allowed, body, reach=reach)
            location = response.headers.get("location")
            if method not in ("GET", "HEAD") or response.status not in _REDIRECTS or not location:
                response.redirected = hops > 0
                return response
            response.close()
            target = join_url(url, location)
            if url.origin.scheme == "https" and target.origin.scheme != "https":
                raise SourceUnavailable(f"{url} redirects from https to http; refused")
            url = target
        raise SourceUnavailable(f"{first} redirects more than {MAX_REDIRECTS} times")

    def _send(self, method: str, url: Url, headers: Mapping[str, str], body: Body | None, *, reach: Reach) -> Response:
        connection = self._connection(url.origin, reach=reach)
        kept = connection.used
        try:
            return connection.request(method, url, headers, body)
        except OSError:
            connection.close()
            # A kept connection may have been closed by the server meanwhile: that costs a request without
            # side effects one more try, on a new connection.
            if not kept or method not in ("GET", "HEAD") or self._aborted:
                raise
        except SourceUnavailable:
            connection.close()
            raise
        connection = self._connection(url.origin, reach=reach)
        try:
            return connection.request(method, url, headers, body)
        except (OSError, SourceUnavailable):
            connection.close()
            raise

    def _connection(self, origin: Origin, *, reach: Reach) -> Connection:
        with self._lock:
            kept = self._connections.get(origin)
        if kept is not None and kept.idle:
            return kept
        fresh = dial(origin, network=self._network, reach=reach)
        with self._lock:
            self._connections[origin] = fresh
            aborted = self._aborted
        if aborted:
            fresh.close()
            raise ConnectionAbortedError("the transfer was cancelled")
        return fresh

    def abort(self) -> None:
        """Make every request under way, and every later one, fail. Callable from any thread."""
        with self._lock:
            self._aborted = True
            for connection in self._connections.values():
                connection.abort()

    def close(self) -> None:
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()
