"""A repository through its mirrors: they are asked in order, the registry itself last.

What a mirror sends is held to its digest like everything else, so it can cost time and nothing more. A mirror that
fails rests for every pull; one that has not got the model is left out of this pull.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from api.digest import Digest
from api.errors import DigestMismatch, NotFound, SourceUnavailable, UnsupportedSource, WarmsetError
from api.reference import OciReference
from cache.http.network import Network
from cache.sources.mirror import Mirror
from cache.sources.oci.registry import Fetched, Repository, Session
from cache.sources.options import SourceOptions
from cache.sources.source import Body

# Shorter than for a registry: there is another way.
_CONNECT_TIMEOUT_S = 3.0
_STALL_S = 10.0


@dataclass(frozen=True, slots=True)
class _Copy:
    mirror: Mirror
    repository: Repository


class MirroredRepository:
    """What all threads of a pull share."""

    def __init__(self, reference: OciReference, *, options: SourceOptions, network: Network) -> None:
        self.origin = Repository(reference, options=options, network=network)
        quick = replace(network, connect_timeout_s=_CONNECT_TIMEOUT_S, stall_s=_STALL_S)
        self._mirrors = options.mirrors
        self._copies = [
            _Copy(mirror, Repository(reference, options=options, network=quick, mirror=mirror))
            for mirror in options.mirrors.of(reference.host)
        ]
        self._served: dict[tuple[Digest, int], Mirror] = {}  # by blob and first byte
        self._doubted: set[Digest] = set()
        self._without: set[Mirror] = set()
        self._lock = threading.Lock()

    def session(self) -> Session | MirroredSession:
        """A session for the calling thread."""
        return MirroredSession(self) if self._copies else self.origin.session()

    def for_manifest(self, name: str) -> list[_Copy]:
        """Whom to ask before the registry; only trusted ones for a tag."""
        pinned = name.startswith("sha256:")
        return [copy for copy in self._awake() if pinned or copy.mirror.tags]

    def for_blob(self, digest: Digest, *, start: int) -> list[_Copy]:
        with self._lock:
            again = self._served.pop((digest, start), None)
            if again is not None:
                self._doubted.add(digest)
        if again is not None:
            # Nobody asks twice for bytes that came whole, unless they did not hash to their digest.
            self._mirrors.failed(again, DigestMismatch(f"it sent other bytes than {digest}"))
        return [] if digest in self._doubted else self._awake()

    def _awake(self) -> list[_Copy]:
        return [c for c in self._copies if c.mirror not in self._without and not self._mirrors.rests(c.mirror)]

    def served(self, copy: _Copy, digest: Digest, *, start: int) -> None:
        with self._lock:
            self._served[digest, start] = copy.mirror

    def failed(self, copy: _Copy, error: Exception) -> None:
        if isinstance(error, NotFound):
            self._without.add(copy.mirror)
        else:
            self._mirrors.failed(copy.mirror, error)

    def __str__(self) -> str:
        return str(self.origin)


class MirroredSession:
    """One thread's connections to the mirrors and to the registry; ``abort`` may come from another."""

    def __init__(self, shared: MirroredRepository) -> None:
        self._shared = shared
        self._origin = shared.origin.session()
        self._copies: dict[Mirror, Session] = {}
        self._lock = threading.Lock()  # guards the dict and the flag against abort()
        self._aborted = False

    def manifest(self, name: str) -> Fetched:
        """As ``Session.manifest``."""
        for copy in self._shared.for_manifest(name):
            try:
                return self._session(copy).manifest(name)
            except UnsupportedSource:
                raise  # whoever sent it, it is what the digest names
            except (OSError, WarmsetError) as error:
                self._failed(copy, error)
        return self._origin.manifest(name)

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> Body:
        """As ``Session.open``. RangesIgnored is a mirror's right too: a cache that fills streams from the start."""
        for copy in self._shared.for_blob(digest, start=start):
            try:
                body = self._session(copy).open(digest, size=size, start=start, stop=stop)
            except (OSError, WarmsetError) as error:
                self._failed(copy, error)
            else:
                return _MirrorBody(
                    body,
                    size=stop - start,
                    on_end=lambda copy=copy: self._shared.served(copy, digest, start=start),  # type: ignore[misc]
                    on_failure=lambda error, copy=copy: self._failed(copy, error),  # type: ignore[misc]
                )
        return self._origin.open(digest, size=size, start=start, stop=stop)

    def _session(self, copy: _Copy) -> Session:
        with self._lock:
            session = self._copies.get(copy.mirror)
            if session is None:
                session = self._copies[copy.mirror] = copy.repository.session()
                if self._aborted:
                    session.abort()
        return session

    def _failed(self, copy: _Copy, error: Exception) -> None:
        if not self._aborted:  # else it is our own doing
            self._shared.failed(copy, error)

    def abort(self) -> None:
        with self._lock:
            self._aborted = True
            for session in self._copies.values():
                session.abort()
        self._origin.abort()

    def close(self) -> None:
        for session in (*self._copies.values(), self._origin):
            session.close()


class _MirrorBody:
    """A body that says how it ended."""

    def __init__(
        self, body: Body, *, size: int, on_end: Callable[[], None], on_failure: Callable[[Exception], None]
    ) -> None:
        self._body = body
        self._todo = size
        self._on_end = on_end
        self._on_failure = on_failure

    def readinto(self, buffer: memoryview) -> int:
        try:
            got = self._body.readinto(buffer)
            if not got and self._todo:
                raise ConnectionResetError("the body ended early")
        except (OSError, SourceUnavailable) as error:
            self._on_failure(error)
            raise
        self._todo -= got
        if not self._todo:
            self._on_end()
        return got

    def close(self) -> None:
        self._body.close()
