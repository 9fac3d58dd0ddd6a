"""This agent's part in exchanges: what it serves to peers, how it proves itself, and with whom its pulls are shared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from api.resources import MOST_SET_ASIDE, PeerSetAside
from cache.exchange.authority.access import Access
from cache.exchange.authority.admission import Admission, Capabilities, SharedKey
from cache.exchange.authority.capability import read_keys
from cache.exchange.authority.identity import read, read_or_make
from cache.exchange.authority.tls import PeerTls
from cache.exchange.group import Contacts, Exchanges, Group
from cache.store import Store
from daemonset.authority.broker import BrokerClient
from daemonset.authority.standalone import ConfiguredGrants
from daemonset.config import AgentConfig, Cluster, Exchange, Peers
from daemonset.pulling.fetch import Share
from daemonset.sharing.agreement import Agreement
from daemonset.sharing.cohorts import Cohorts

KEY_FILE = "peer.key"  # below the store's root: whoever knows this node by its key knows it after a restart

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sharing:
    """``share`` gives what a grant's pull is shared through; ``key`` names this agent, if it proves itself at all."""

    exchanges: Exchanges
    share: Share
    listen: str
    admission: Admission | None
    tls: PeerTls | None
    cohorts: Cohorts | None = None
    agreement: Agreement | None = None

    @property
    def key(self) -> str:
        return self.tls.identity.key if self.tls else ""

    def set_aside(self) -> list[PeerSetAside]:
        """The latest peers from which nothing is taken any more."""
        found = sorted(self.exchanges.peers_set_aside(), key=lambda one: one.at)[-MOST_SET_ASIDE:]
        return [
            PeerSetAside(
                peer=one.peer,
                reason=one.reason,
                message=one.message,
                at=datetime.fromtimestamp(one.at, UTC).isoformat(timespec="seconds"),
            )
            for one in found
        ]


def sharing_of(config: AgentConfig, *, store: Store) -> Sharing | None:
    """None where this agent shares nothing. Raises InvalidRequest for a key that it cannot use, DiskError.

    To be called from the event loop's thread.
    """
    if config.peers is not None:
        return _of_group(config, config.peers, store=store)
    if config.cluster is not None and config.cluster.exchange is not None:
        return _of_cluster(config.cluster, config.cluster.exchange, store=store)
    return None


def _of_group(config: AgentConfig, group: Peers, *, store: Store) -> Sharing:
    tls = PeerTls(read(group.key_file)) if group.key_file is not None else None
    access = Access(tls) if tls else None
    members, above = group.cohort()
    exchanges = Exchanges(Group.listed(members, me=group.listen, access=access, above=above))
    admission = SharedKey(tls.identity.key) if tls else None
    everybody = Group.listed(group.members, me=group.listen, access=access)
    agreement = Agreement(everybody, grants=ConfiguredGrants(config), store=store)
    return Sharing(exchanges, lambda _: nullcontext(exchanges), group.listen, admission, tls, agreement=agreement)


def _of_cluster(cluster: Cluster, exchange: Exchange, *, store: Store) -> Sharing:
    tls = PeerTls(read_or_make(store.root / KEY_FILE))
    exchanges = Exchanges(Group((), None, Contacts({})))  # each pull has a group of its own
    broker = BrokerClient(cluster.broker)
    cohorts = Cohorts(broker.cohort, tls=tls, exchanges=exchanges, loop=asyncio.get_running_loop())
    admission = Capabilities(SignersFile(exchange.signers_file).keys)
    return Sharing(exchanges, cohorts.joined, exchange.listen, admission, tls, cohorts)


class SignersFile:
    """The keys that may have signed a capability, from a file that kubelet renews."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._keys: Mapping[str, Ed25519PublicKey] = {}
        self._trouble = ""

    def keys(self) -> Mapping[str, Ed25519PublicKey]:
        """Those of the last version that could be read; none before the controller has written any."""
        try:
            stat = self._path.stat()
            if (stat.st_ino, stat.st_mtime_ns) != self._seen:
                self._keys = read_keys(self._path.read_text())
                self._seen = stat.st_ino, stat.st_mtime_ns
        except (OSError, ValueError) as error:
            if str(error) != self._trouble:  # every request of a peer comes by here
                log.warning("exchange.signers_unreadable", file=str(self._path), error=str(error))
            self._trouble = str(error)
        return self._keys
