"""How a grant becomes a call of cache.pull: what the source may use, and this node's limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import structlog

from api.broker import Grant
from api.digest import Digest
from api.reference import parse_reference
from cache.exchange.group import Exchanges
from cache.pull import Pulled, pull
from cache.sources import Credential, SourceOptions
from cache.sources.hosts import hosts_of
from cache.sources.mirror import Mirror
from cache.sources.mirrors import Mirrors
from cache.sources.options import REACH
from cache.store import Store
from cache.transfer.progress import Progress
from cache.transfer.throttle import Rate
from daemonset.config import Limits
from daemonset.pulling.pulls import Fetch

Share = Callable[[Grant], AbstractContextManager[Exchanges | None]]

log = structlog.get_logger()


def alone(_: Grant) -> AbstractContextManager[None]:
    """Shares with nobody."""
    return nullcontext()


def fetcher(
    store: Store,
    *,
    limits: Limits,
    ambient: bool,
    allow_executable: bool = False,
    share: Share = alone,
    mirrors: Sequence[Mirror] = (),
) -> Fetch:
    """``ambient`` lets a stand-alone agent use its user's logins; in a cluster a node has none to lend.

    ``share`` says with whom each pull is shared.
    """
    ways = Mirrors(mirrors, on_failure=_log_mirror)  # one for all pulls, so that none asks where another has failed
    most = limits.download_bytes_per_second
    rate = None if most is None else Rate(most)  # and one rate: whichever pulls run share all of it

    def fetch(grant: Grant, *, on_progress: Callable[[Progress], None], cancel: threading.Event) -> Pulled:
        with share(grant) as exchanges:
            return pull(
                store,
                parse_reference(grant.source),
                options=replace(source_options(grant, ambient=ambient), mirrors=ways),
                include=grant.include,
                exclude=grant.exclude,
                sha256={path: Digest(digest) for path, digest in grant.sha256.items()},
                tree=Digest.parse(grant.tree) if grant.tree else None,
                layout=grant.layout,
                allow_executable=allow_executable,
                workers=limits.workers,
                on_progress=on_progress,
                cancel=cancel,
                limit=rate,
                exchanges=exchanges,
            )

    return fetch


def source_options(grant: Grant, *, ambient: bool) -> SourceOptions:
    """The grant's credential for its host, and its word on TLS for the source's host alone."""
    reference = parse_reference(grant.source)
    credential = None
    if given := grant.credential:
        credential = Credential(
            host=given.host,
            username=given.username,
            password=given.password,
            identity_token=given.identity_token,
            endpoint=given.endpoint,
            region=given.region,
        )
    hosts = hosts_of(reference, endpoint=credential.endpoint if credential else "")
    return SourceOptions(
        credential=credential,
        plain_http=hosts if grant.plain_http else frozenset(),
        ambient=ambient,
        reach=REACH[grant.reach],
    )


def _log_mirror(mirror: Mirror, error: Exception) -> None:
    log.warning("mirror.failed", mirror=mirror.url, host=mirror.host, error=str(error))
