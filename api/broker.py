"""The broker's API: how an agent learns where a model comes from, with which credential, and who shares the pull.

    POST /v1/grants    Authorization: Bearer <bound service-account token, audience keys.BROKER_AUDIENCE>
                       GrantRequest -> 200 Grant | 401 | 403 NodeError
    POST /v1/cohorts   CohortRequest -> 200 Cohort | 401 | 403 | 404 NodeError: this node pulls alone

HTTPS only. The node's name is taken from the token, never from the request; a grant is given only for a model
and revision that the node's NodeCache names.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from api.fields import Wire
from api.resources import Layout

# How far inside the source's host may lie, by what an administrator has said of it (docs/security.md): on the open
# internet, in a private network too, or anywhere.
Reach = Literal["public", "private", "anywhere"]


class GrantRequest(Wire):
    model: str  # hash, as in NodeCache.spec
    revision: str


class SourceCredential(Wire):
    """A user and password, or a token, for exactly one registry, Hub, web server or bucket."""

    host: str
    username: str = ""
    password: str = ""
    identity_token: str = ""
    endpoint: str = ""  # of a service of buckets that is not the cloud's own
    region: str = ""

    def __repr__(self) -> str:  # never in a log
        return f"SourceCredential({self.host})"


class Grant(Wire):
    model: str  # namespace/name
    source: str  # reference, pinned to the revision
    revision: str
    reach: Reach = "public"
    namespaces: list[str] = field(default_factory=list)  # whose pods may mount it; '*' for all
    layout: Layout = "plain"
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)  # of files by path, where the Model fixes them
    tree: str = ""  # its digest, where the source publishes no hashes and the first pull has fixed them
    credential: SourceCredential | None = None
    current: bool = True  # this is the revision that the Model has now
    plain_http: bool = False  # the controller's configuration lists the host as one without TLS


class CohortRequest(Wire):
    model: str  # as in a GrantRequest
    revision: str
    key: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]  # hash of the agent's own public key


class Peer(Wire):
    """The node that has a seat, where its agent serves peers, and the hash of that agent's key."""

    seat: int
    node: str
    address: str
    key: str


class Cohort(Wire):
    """``seat`` as in the NodeCache. ``peers`` are the members that can be reached, this node left out, and ``above``
    those of the cohort that this one reads from.

    ``capability`` lets this agent, by the key it named, read this one revision from peers (cache/exchange/authority).
    """

    seat: str
    capability: str
    peers: list[Peer] = field(default_factory=list)
    above: list[Peer] = field(default_factory=list)

    def __repr__(self) -> str:  # never in a log
        return f"Cohort({self.seat}, {len(self.peers)} peers, {len(self.above)} above)"
