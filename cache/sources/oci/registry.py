"""One repository of a registry: its manifests and blobs, with login (OCI distribution spec 1.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from api.digest import Digest
from api.errors import DigestMismatch, InvalidArtifact, SourceUnavailable
from api.reference import OciReference
from cache.http.client import Client
from cache.http.connection import Body
from cache.http.guard import Reach
from cache.http.network import Network
from cache.http.ranges import ByteRange, check_identity, check_partial
from cache.http.response import Response
from cache.http.url import Origin, Url, parse_url
from cache.sources.oci.auth import Login
from cache.sources.oci.credentials import DOCKER_HUB, docker_credential
from cache.sources.oci.errors import check_status
from cache.sources.oci.mediatypes import INDEXES, MANIFESTS
from cache.sources.options import Credential, SourceOptions

if TYPE_CHECKING:  # a tag is asked for without what reading manifests takes
    from cache.sources.mirror import Mirror
    from cache.sources.oci.manifest import Index, Manifest

_ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
_MAX_INDEX_DEPTH = 2
_HUB_API = "registry-1.docker.io"  # docker.io itself is a web site


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest, the bytes it was read from, and their digest."""

    digest: Digest
    manifest: Manifest
    body: bytes


class Repository:
    """What all threads share of one repository: where it is and how to log in.

    With ``mirror`` it is that server's copy, asked with that server's own login.
    """

    def __init__(
        self, reference: OciReference, *, options: SourceOptions, network: Network, mirror: Mirror | None = None
    ) -> None:
        scheme = "http" if reference.host in options.plain_http else "https"
        host = _HUB_API if reference.host in DOCKER_HUB else reference.host
        base = parse_url(f"{scheme}://{host}/" if mirror is None else mirror.url)
        self.origin: Origin = base.origin
        self.name = reference.repository
        self.network = network
        self.choice = {"platform": options.platform, "artifact_type": options.artifact_type}
        self.reach = options.reach_for(reference.host) if mirror is None else Reach.LOCAL
        self.headers: Mapping[str, str] = {}
        self._path = f"{base.target.rstrip('/')}/v2/{self.name}"
        self._query = ""
        if mirror is None:
            self.login = Login(self.origin, find=lambda: _credential(reference.host, options))
        else:
            # Never the credential of the registry itself, which is for its own host.
            own = self.origin.authority
            self.login = Login(self.origin, find=lambda: docker_credential(own) if options.ambient else None)
            # How proxies for several registries learn which is meant: containerd's query, and Dragonfly's header.
            self._query = f"?ns={quote(reference.host)}"
            self.headers = {"X-Dragonfly-Registry": f"{scheme}://{host}"}

    def url(self, path: str) -> Url:
        return Url(self.origin, f"{self._path}/{path}{self._query}")

    def session(self) -> Session:
        """A session for the calling thread."""
        return Session(self)

    def __str__(self) -> str:
        return f"{self.origin.authority}/{self.name}"


class Session:
    """Requests to one repository over kept connections. Owned by one thread; ``abort`` may come from another."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._client = Client(repository.network, reach=repository.reach)

    def url(self, path: str) -> Url:
        return self._repository.url(path)

    def request(
        self,
        method: str,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        actions: str = "pull",
        reads: str = "",
    ) -> Response:
        """Send a request with the login it needs, for ``actions`` here and to read the repository ``reads``.

        A 401 is answered once; the second one is the caller's.
        """
        if url.origin != self._repository.origin:
            return self._client.request(method, url, headers=headers, body=body, guarded=True)
        headers = {**self._repository.headers, **(headers or {})}
        scope = f"repository:{self._repository.name}:{actions}" + (f" repository:{reads}:pull" if reads else "")
        sent = self._repository.login.header(scope)
        response = self._client.request(method, url, headers=_with(headers, sent), body=body)
        if response.status != 401 or response.redirected:
            return response
        challenge = response.headers.get("www-authenticate", "")
        response.close()
        login = self._repository.login.answer(self._client, challenge, scope=scope, refused=sent)
        return self._client.request(method, url, headers=_with(headers, login), body=body)

    def manifest(self, name: str) -> Fetched:
        """The manifest that a tag or digest names; of an index the one that can be meant.

        Raises NotFound, Unauthorized, …; DigestMismatch where the body is not what the digest names.
        """
        from cache.sources.oci.manifest import Index, choose

        digest, parsed, body = self._manifest(name)
        for _ in range(_MAX_INDEX_DEPTH):
            if isinstance(parsed, Index):
                digest, parsed, body = self._manifest(str(choose(parsed, **self._repository.choice)))
        if isinstance(parsed, Index):
            raise InvalidArtifact(f"{self._repository}: indexes lie deeper than {_MAX_INDEX_DEPTH} in each other")
        return Fetched(digest, parsed, body)

    def _manifest(self, name: str) -> tuple[Digest, Manifest | Index, bytes]:
        from cache.sources.oci.manifest import MAX_MANIFEST_BYTES, parse_manifest

        response = self.request("GET", self.url(f"manifests/{name}"), headers={"Accept": _ACCEPT})
        check_status(response, what=f"manifest {self._repository}{'@' if ':' in name else ':'}{name}")
        check_identity(response.headers)
        body = response.read(MAX_MANIFEST_BYTES)
        digest = Digest(hashlib.sha256(body).hexdigest())
        if name.startswith("sha256:") and str(digest) != name:
            raise DigestMismatch(f"manifest {self._repository}@{name}: the registry sent {digest}")
        return digest, parse_manifest(body, content_type=response.headers.get("content-type", "")), body

    def named(self, tag: str) -> Digest | None:
        """What the registry says that a tag names now, perhaps an index; None where it does not say. Asked once."""
        response = self.request("HEAD", self.url(f"manifests/{tag}"), headers={"Accept": _ACCEPT})
        response.close()
        try:
            return Digest.parse(response.headers.get("docker-content-digest", "")) if response.status == 200 else None
        except InvalidArtifact:
            return None

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> Response:
        """Begin to read bytes ``start`` to ``stop`` of a blob of ``size`` bytes; every header is checked.

        Raises RangesIgnored where the registry sends the whole blob instead, and named errors otherwise.
        """
        whole = start == 0 and stop == size
        asked = ByteRange(start, stop)
        headers = {} if whole else {"Range": asked.header}
        response = self.request("GET", self.url(f"blobs/{digest}"), headers=headers)
        try:
            check_status(response, what=f"blob {self._repository}@{digest}", ok=(200, 206))
            if not whole:
                check_partial(response.status, response.headers, asked=asked, size=size)
                return response
            check_identity(response.headers)
            if response.status != 200 or response.length not in (None, size):
                raise SourceUnavailable(
                    f"blob {self._repository}@{digest}: expected {size} bytes, the registry sends {response.length}"
                )
        except Exception:
            response.close()
            raise
        return response

    def abort(self) -> None:
        self._client.abort()

    def close(self) -> None:
        self._client.close()


def _with(headers: Mapping[str, str], authorization: str) -> dict[str, str]:
    return {**headers, "Authorization": authorization} if authorization else {**headers}


def _credential(host: str, options: SourceOptions) -> Credential | None:
    given = options.credential
    if given is not None and (given.host == host or {given.host, host} <= DOCKER_HUB):
        return given
    return docker_credential(host) if options.ambient else None
