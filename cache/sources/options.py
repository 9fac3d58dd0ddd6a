"""What a caller lets a source use: credentials and which hosts have no TLS."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and password, or an identity token (OAuth2 refresh token), for exactly one registry host."""

    host: str  # as in a reference: host or host:port
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """``docker_config`` reads the user's docker configuration; in a cluster it stays off, since a node's own
    credentials must never serve somebody's reference."""

    credential: Credential | None = None
    plain_http: frozenset[str] = frozenset()  # hosts (as in a reference) that are spoken to without TLS
    docker_config: bool = False
