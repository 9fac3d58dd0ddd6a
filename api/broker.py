"""The broker's API: how an agent learns where a model comes from, and with which credential.

    POST /v1/grants   Authorization: Bearer <bound service-account token, audience keys.BROKER_AUDIENCE>
                      GrantRequest -> 200 Grant | 401 | 403 NodeError

HTTPS only. The node's name is taken from the token, never from the request; a grant is given only for a model
and revision that the node's NodeCache names.
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

from api.resources import Wire

# How far inside the source's host may lie, by what an administrator has said of it (docs/security.md): on the open
# internet, in a private network too, or anywhere.
Reach = Literal["public", "private", "anywhere"]


class GrantRequest(Wire):
    model: str  # hash, as in NodeCache.spec
    revision: str


class RegistryCredential(Wire):
    """A user and password, or an identity token, for exactly one registry host."""

    host: str
    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:  # never in a log
        return f"RegistryCredential({self.host})"


class Grant(Wire):
    model: str  # namespace/name
    source: str  # reference, pinned to the revision
    revision: str
    reach: Reach = "public"
    namespaces: list[str] = field(default_factory=list)  # whose pods may mount it; '*' for all
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    credential: RegistryCredential | None = None
    current: bool = True  # this is the revision that the Model has now
    plain_http: bool = False  # the controller's configuration lists the host as one without TLS
