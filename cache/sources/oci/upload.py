"""Blobs and manifests into a registry (OCI distribution spec 1.1, "Pushing").

Files up to one part go in one request; larger ones in parts, so that a broken connection costs at most one part and
proxies with a limit on bodies let them through.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from api.digest import Digest
from api.errors import DigestMismatch, InvalidArtifact, SourceUnavailable, Unauthorized
from cache.http.connection import Body, FileBody
from cache.http.response import Response
from cache.http.retry import TRANSIENT, Retries, RetryPolicy, with_retries
from cache.http.url import Url, join_url
from cache.sources.oci.errors import check_status
from cache.sources.oci.registry import Session

PART_BYTES = 64 << 20  # below the limits seen at registries behind content networks (100 MB and more)
_ACTIONS = "pull,push"
T = TypeVar("T")
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Upload:
    """How uploads are done: with which patience, and who is told of bytes sent.

    ``mount_from`` is another repository of the registry: what it has is taken over from there without being sent."""

    session: Session
    policy: RetryPolicy
    cancel: threading.Event
    on_bytes: Callable[[int], None]
    mount_from: str = ""

    def has_blob(self, digest: Digest) -> bool:
        return self._retrying(lambda: self._has_blob(digest), what=f"blob {digest}")

    def _has_blob(self, digest: Digest) -> bool:
        response = self._request("HEAD", self.session.url(f"blobs/{digest}"))
        response.close()
        if response.status == 404:
            return False
        check_status(response, what=f"blob {digest}")
        return True

    def mount(self, digest: Digest) -> bool:
        """Whether the registry took the blob over from ``mount_from``; it need not, whatever that has."""
        return bool(self.mount_from) and self._retrying(lambda: self._mount(digest), what=f"mount of {digest}")

    def _mount(self, digest: Digest) -> bool:
        query = f"mount={quote(str(digest))}&from={quote(self.mount_from, safe='')}"
        url = self.session.url(f"blobs/uploads/?{query}")
        try:
            response = self.session.request("POST", url, actions=_ACTIONS, reads=self.mount_from)
        except Unauthorized:
            return False  # it may not be read with this login
        if response.status == 202:  # an upload was begun instead
            begun = _location(response, base=url)
            self._request("DELETE", begun).close()  # registries need not know how, and forget it in time
        response.close()
        return response.status == 201

    def small_blob(self, digest: Digest, content: bytes) -> None:
        """Upload bytes that are in memory."""
        self._retrying(lambda: self._put(self._start(), digest, content), what=f"upload of {digest}")

    def file(self, path: Path, *, digest: Digest, size: int) -> None:
        """Upload a file. The registry refuses it when its bytes are no longer those of ``digest``."""
        with path.open("rb") as file:
            if size <= PART_BYTES:
                body = FileBody(file, 0, size) if size else b""
                self._retrying(lambda: self._put(self._start(), digest, body), what=f"upload of {path.name}")
                self.on_bytes(size)
                return
            location, offset = self._retrying(self._start, what=f"upload of {path.name}"), 0
            retries, furthest = Retries(self.policy, self.cancel), 0
            while offset < size:
                part = FileBody(file, offset, min(PART_BYTES, size - offset))
                try:
                    location = self._part(location, part)
                except TRANSIENT as error:
                    retries.pause(error, what=f"upload of {path.name}")
                    location, reached = self._find_place(location, what=path.name)
                else:
                    reached = offset + part.size
                self.on_bytes(reached - offset)
                offset = reached
                if offset > furthest:  # not for bytes sent again: an upload that breaks at one place must end
                    retries.failures, furthest = 0, offset
            self._retrying(lambda: self._put(location, digest, b""), what=f"upload of {path.name}")

    def manifest(self, name: str, *, body: bytes, media_type: str) -> Digest:
        """Upload a manifest under a tag; returns its digest."""
        digest = Digest(hashlib.sha256(body).hexdigest())
        self._retrying(lambda: self._put_manifest(name, body, media_type), what=f"manifest {name}")
        return digest

    def _put_manifest(self, name: str, body: bytes, media_type: str) -> None:
        url = self.session.url(f"manifests/{name}")
        response = self._request("PUT", url, headers={"Content-Type": media_type}, body=body)
        check_status(response, what=f"manifest {name}", ok=(201,))
        response.close()

    def _start(self) -> Url:
        url = self.session.url("blobs/uploads/")
        response = self._request("POST", url)
        check_status(response, what="upload", ok=(202,))
        return _location(response, base=url)

    def _part(self, location: Url, part: FileBody) -> Url:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{part.offset}-{part.offset + part.size - 1}",
        }
        response = self._request("PATCH", location, headers=headers, body=part)
        if response.status == 416:
            response.close()
            raise SourceUnavailable("the registry lost its place in an upload")
        check_status(response, what="upload", ok=(202, 204))
        return _location(response, base=location)

    def _find_place(self, location: Url, *, what: str) -> tuple[Url, int]:
        return self._retrying(lambda: self._reached(location), what=f"upload of {what}")

    def _reached(self, location: Url) -> tuple[Url, int]:
        """Where an interrupted upload stands. One that the registry has forgotten starts anew."""
        response = self._request("GET", location)
        if response.status == 404:
            response.close()
            return self._start(), 0
        check_status(response, what="upload", ok=(204, 202))
        match = _RANGE.fullmatch(response.headers.get("range", ""))
        last = int(match.group(1)) if match else 0
        # Registries answer 0-0 both for nothing and for one byte; parts are longer, so it means nothing.
        return _location(response, base=location), last + 1 if last else 0

    def _put(self, location: Url, digest: Digest, body: Body) -> None:
        separator = "&" if "?" in location.target else "?"
        url = Url(location.origin, f"{location.target}{separator}digest={quote(str(digest))}")
        response = self._request("PUT", url, headers={"Content-Type": "application/octet-stream"}, body=body)
        if response.status == 400:
            response.close()
            raise DigestMismatch(f"the registry refused the bytes of {digest}", hint="did the file change meanwhile?")
        check_status(response, what=f"upload of {digest}", ok=(201, 204))
        response.close()

    def _request(
        self, method: str, url: Url, *, headers: dict[str, str] | None = None, body: Body | None = None
    ) -> Response:
        return self.session.request(method, url, headers=headers, body=body, actions=_ACTIONS)

    def _retrying(self, work: Callable[[], T], *, what: str) -> T:
        return with_retries(work, policy=self.policy, cancel=self.cancel, what=what)


def _location(response: Response, *, base: Url) -> Url:
    text = response.headers.get("location", "")
    response.close()
    if not text:
        raise InvalidArtifact("the registry names no place for an upload")
    target = join_url(base, text)
    if base.origin.scheme == "https" and target.origin.scheme != "https":
        raise SourceUnavailable("the registry names a place for an upload that has no TLS; refused")
    return target
