"""Hugging Face as a source: files of one commit, read by ranges from the Hub and whatever CDN it sends us to."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from api.digest import Digest
from api.errors import NotFound, SourceUnavailable
from api.reference import UrlReference
from cache.http.client import Client
from cache.http.network import Network, network_from_env
from cache.http.ranges import ByteRange, check_identity, check_partial
from cache.http.response import Response
from cache.http.url import Url, parse_url
from cache.sources.artifact import Filter, select
from cache.sources.hf.hub import Hub, find_hub, read_snapshot, refusal, repository_of
from cache.sources.oci.errors import check_status
from cache.sources.options import SourceOptions
from cache.sources.source import Resolved


def resolve_hf(reference: UrlReference, *, options: SourceOptions, wanted: Filter) -> Resolved:
    """One request to the Hub. The revision is the commit."""
    hub = find_hub(options)
    repository = repository_of(reference)
    snapshot = read_snapshot(hub, repository=repository, revision=reference.revision)
    artifact = select(snapshot.files, snapshot.in_git, wanted=wanted)
    network = network_from_env()
    return Resolved(
        reference=reference.pinned(snapshot.commit),
        revision=snapshot.commit,
        artifact=artifact,
        open_session=lambda listed: HubSession(
            hub, repository=repository, commit=snapshot.commit, paths=listed.paths, network=network
        ),
    )


class HubSession:
    """Reads files of one commit over kept connections. Owned by one thread; ``abort`` may come from another.

    The client follows redirects to a CDN and leaves the token behind there.
    """

    def __init__(
        self, hub: Hub, *, repository: str, commit: str, paths: Mapping[Digest, str], network: Network
    ) -> None:
        self._hub = hub
        self._repository = repository
        self._commit = commit
        self._paths = paths
        self._client = Client(network)

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> Response:
        """Begin to read bytes ``start`` to ``stop`` of the file listed under ``digest``; every header is checked."""
        path = self._paths.get(digest)
        if path is None:
            raise NotFound(f"{digest} is no file of {self._repository}@{self._commit}")
        whole = start == 0 and stop == size
        asked = ByteRange(start, stop)
        headers = {} if whole else {"Range": asked.header}
        if self._hub.token:
            headers["Authorization"] = f"Bearer {self._hub.token}"
        response = self._client.request("GET", self._url(path), headers=headers)
        what = f"{self._repository}@{self._commit}: {path[:120]}"
        try:
            if response.status >= 400 and not response.redirected:
                raise refusal(response.status, response.headers, self._hub, repository=self._repository, what=what)
            check_status(response, what=what, ok=(200, 206))
            if not whole:
                check_partial(response.status, response.headers, asked=asked, size=size)
                return response
            check_identity(response.headers)
            if response.status != 200 or response.length not in (None, size):
                raise SourceUnavailable(f"{what}: expected {size} bytes, the Hub sends {response.length}")
        except Exception:
            response.close()
            raise
        return response

    def _url(self, path: str) -> Url:
        return parse_url(f"{self._hub.endpoint}/{self._repository}/resolve/{self._commit}/{quote(path)}")

    def abort(self) -> None:
        self._client.abort()

    def close(self) -> None:
        self._client.close()
