"""https:// : one file of a web server, by strict ranges."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from urllib.parse import quote

from api.digest import Digest
from api.errors import InvalidArtifact, NotFound, SourceChanged
from api.reference import UrlReference
from cache.http.client import Client
from cache.http.network import network_from_env
from cache.http.ranges import ByteRange, check_identity, check_partial
from cache.http.response import Response
from cache.http.retry import PATIENCE, with_retries
from cache.http.url import Url, parse_url
from cache.sources.artifact import Filter
from cache.sources.objects.listing import Listed, Listing
from cache.sources.oci.errors import check_status
from cache.sources.options import SourceOptions
from cache.sources.source import Resolved


def resolve_web(reference: UrlReference, *, options: SourceOptions, wanted: Filter) -> Resolved:
    """One HEAD request. The version is a strong ETag, else the time of the last change, else nothing."""
    host = reference.location.partition("/")[0]
    scheme = "http" if host in options.plain_http else "https"
    url = parse_url(f"{scheme}://{quote(reference.location, safe='/:%')}")
    given = options.credential if options.credential is not None and options.credential.host == host else None
    authorization = ""
    if given is not None and given.identity_token:
        authorization = f"Bearer {given.identity_token}"
    elif given is not None:
        pair = f"{given.username}:{given.password}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    login = {"Authorization": authorization} if authorization else {}
    network, reach = network_from_env(), options.reach_for(host)
    client = Client(network, reach=reach)
    try:
        listed = with_retries(
            lambda: _head(client, url, login=login, name=reference.name),
            policy=PATIENCE,
            cancel=threading.Event(),
            what=reference.place,
        )
    finally:
        client.close()
    listing = Listing.of([listed], reference=reference)
    return Resolved(
        reference=reference.pinned(listing.revision),
        revision=listing.revision,
        artifact=listing.artifact(wanted=wanted),
        open_session=lambda artifact: WebSession(
            url, login=login, client=Client(network, reach=reach), located=listing.located(artifact)
        ),
    )


def _head(client: Client, url: Url, *, login: Mapping[str, str], name: str) -> Listed:
    response = client.request("HEAD", url, headers=login)
    check_status(response, what=str(url))
    size = response.headers.get("content-length", "")
    response.close()
    if not (size.isascii() and size.isdigit()):
        raise InvalidArtifact(f"{url}: the server does not say how long the file is")
    etag = response.headers.get("etag", "")
    strong = "" if etag.startswith("W/") else etag
    return Listed(name, name, int(size[:19]), strong, "" if strong else response.headers.get("last-modified", ""))


class WebSession:
    """Reads the file over kept connections. Owned by one thread; ``abort`` may come from another."""

    def __init__(
        self,
        url: Url,
        *,
        login: Mapping[str, str],
        client: Client,
        located: Mapping[Digest, Listed],
    ) -> None:
        self._url = url
        self._login = login
        self._client = client
        self._located = located

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> Response:
        listed = self._located.get(digest)
        if listed is None:
            raise NotFound(f"{digest} is not the file at {self._url}")
        asked = ByteRange(start, stop)
        headers = {**self._login, "Range": asked.header}
        if listed.etag:
            headers["If-Match"] = listed.etag
        elif listed.version:
            headers["If-Unmodified-Since"] = listed.version
        response = self._client.request("GET", self._url, headers=headers)
        try:
            if response.status in (412, 416):
                raise SourceChanged(
                    f"{self._url} was replaced while it was read", hint="pull again to take the new version"
                )
            check_status(response, what=str(self._url), ok=(200, 206))
            if response.status == 200 and start == 0 and stop == size == response.length:
                check_identity(response.headers)
                return response
            check_partial(response.status, response.headers, asked=asked, size=size)
        except Exception:
            response.close()
            raise
        return response

    def abort(self) -> None:
        self._client.abort()

    def close(self) -> None:
        self._client.close()
