"""What this node shows to the peers that it reads from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cache.exchange.authority.tls import PeerTls


@dataclass(frozen=True, slots=True)
class Access:
    """``capability`` gives the newest one for the group's exchange; empty in a group whose shared key says all."""

    tls: PeerTls
    capability: Callable[[], str] = str
