"""Other servers that hold what a registry holds, and which of them failed of late.

An administrator's or a user's word, never a model's: a mirror hands blobs out by digest to whoever asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from api.errors import InvalidRequest, RateLimited, SourceUnavailable
from cache.http.url import parse_url

if TYPE_CHECKING:  # most pulls have none, and need not import what reads them
    from cache.sources.mirror import Mirror

REST_S = 60.0  # a restart of the mirror takes less; and a dead one costs a pull one time limit a minute at most


class Mirrors:
    """All mirrors of a process, in the order in which they are asked. For any thread.

    ``on_failure`` is told once per rest. Raises InvalidRequest for a URL that cannot be one.
    """

    def __init__(
        self,
        listed: Iterable[Mirror] = (),
        *,
        on_failure: Callable[[Mirror, Exception], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listed = tuple(listed)
        self._on_failure = on_failure
        self._clock = clock
        self._rests_until: dict[str, float] = {}  # by URL
        self._lock = threading.Lock()
        for mirror in self._listed:
            _check(mirror)

    def of(self, host: str) -> list[Mirror]:
        """Those of a registry, also if they rest."""
        return [mirror for mirror in self._listed if mirror.host == host]

    def rests(self, mirror: Mirror) -> bool:
        with self._lock:
            return self._clock() < self._rests_until.get(mirror.url, 0.0)

    def failed(self, mirror: Mirror, error: Exception) -> None:
        """Leave it alone for a while, for every pull."""
        rest_s = max(REST_S, error.retry_after_s if isinstance(error, RateLimited) else 0.0)
        with self._lock:
            rested = self._clock() < self._rests_until.get(mirror.url, 0.0)
            self._rests_until[mirror.url] = self._clock() + rest_s
        if self._on_failure is not None and not rested:
            self._on_failure(mirror, error)


def _check(mirror: Mirror) -> None:
    try:
        url = parse_url(mirror.url)
    except SourceUnavailable as error:
        raise InvalidRequest(
            f"mirror of {mirror.host}: {mirror.url[:120]!r} is not a URL", hint="write http(s)://host[:port][/path]"
        ) from error
    if "?" in url.target:
        raise InvalidRequest(f"mirror of {mirror.host}: its URL must have no query")
