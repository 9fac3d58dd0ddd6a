"""What a caller lets a source use: credentials and which hosts have no TLS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cache.http.guard import Reach
from cache.sources.mirrors import Mirrors


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and password, or a token, for exactly one host: a registry, a Hub endpoint or a bucket.

    Which fields a source reads stands in docs/sources.md."""

    host: str  # as in a reference: host or host:port
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    endpoint: str = ""  # URL of a service of buckets that is not the cloud's own
    region: str = ""


# As api.broker says it.
REACH: Mapping[str, Reach] = {"public": Reach.PUBLIC, "private": Reach.PRIVATE, "anywhere": Reach.LOCAL}


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """``ambient`` lets a source use what the user is logged in to (docker's configuration, a Hub token, a cloud's
    environment) and drivers of schemes that reach anywhere. In a cluster it stays off: a node's own credentials must
    never serve somebody's reference.

    ``reach`` is how far inside a reference's own host may lie, unless whoever runs us has named it: as one without
    TLS, or by being the user."""

    credential: Credential | None = None
    plain_http: frozenset[str] = frozenset()  # hosts (as in a reference) that are spoken to without TLS
    ambient: bool = False
    reach: Reach = Reach.PUBLIC
    mirrors: Mirrors = field(default_factory=Mirrors, compare=False)
    platform: str = ""  # os/architecture[/variant], to choose in an index; empty where only one can be meant
    artifact_type: str = ""  # the same, by what an index says of its manifests

    def reach_for(self, host: str) -> Reach:
        return Reach.LOCAL if self.ambient or host in self.plain_http else self.reach
