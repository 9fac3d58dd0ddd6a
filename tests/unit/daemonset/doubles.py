"""Stand-ins for what lies outside the agent: the network behind a pull, and the broker behind a grant."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from api.broker import Grant, SourceCredential
from api.digest import Digest
from api.errors import Cancelled, ClusterUnavailable, Forbidden, SourceUnavailable, Unauthorized, WarmsetError
from api.keys import model_key
from api.tree import Tree, TreeFile
from cache.pull import Pulled
from cache.sources import Credential
from cache.store import Store
from cache.transfer.progress import Progress
from daemonset.authority.grants import Grants
from daemonset.authority.logins import Logins
from daemonset.changed import Changed
from daemonset.metrics import Metrics
from daemonset.publishing.preload import Preload
from daemonset.publishing.publications import Publications
from daemonset.pulling.desired import Desired
from daemonset.pulling.pulls import Pulls

SECRET = "canary-of-a-credential"


def revision(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def wanted(name: str, *, version: str = "v1", absent: bool = False, priority: int = 0) -> Desired:
    """Model default/<name>, whose bytes FakeFetch makes of its revision."""
    return Desired(model=model_key("default", name), revision=revision(version), absent=absent, priority=priority)


async def eventually(check: Callable[[], object], *, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not check():
            await asyncio.sleep(0.005)


@dataclass
class FakeFetch:
    """Brings one small file whose bytes are the revision's name. ``hold`` keeps pulls under way until it is set;
    ``failures`` are raised first, one a call."""

    store: Store
    hold: threading.Event = field(default_factory=threading.Event)
    failures: list[Exception] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    overlapped: bool = False
    told: int = 0

    def __post_init__(self) -> None:
        self.hold.set()

    def __call__(self, grant: Grant, *, on_progress: Callable[[Progress], None], cancel: threading.Event) -> Pulled:
        content = grant.revision or grant.source
        self.calls.append(content)
        self.overlapped |= content in self.running
        self.running.add(content)
        try:
            if self.failures:
                raise self.failures.pop(0)
            data = content.encode()
            if self.told:
                on_progress(Progress(self.told, len(data), self.told, 0, 0, 1))
            while not self.hold.wait(0.005):
                if cancel.is_set():
                    raise Cancelled("told to end")
            digest = Digest(hashlib.sha256(data).hexdigest())
            self.store.commit_small([(digest, data)])
            tree = Tree.of([TreeFile("config.json", len(data), digest)])
            path = self.store.publish_tree(tree)
            on_progress(Progress(len(data), len(data), len(data), 0, 1, 1))
            return Pulled(grant.revision or revision(content), tree, path, len(data), 0, grant.source)
        finally:
            self.running.discard(content)


@dataclass
class FakeBroker:
    """Grants every model of namespace ``default`` to ``namespaces``, until told otherwise."""

    namespaces: list[str] = field(default_factory=list)
    refuses: bool = False
    away: bool = False
    asked: int = 0
    current: str = ""  # the Model's present revision; empty: whichever is asked for

    async def grant(self, desired: Desired) -> Grant:
        self.asked += 1
        if self.away:
            raise ClusterUnavailable("the broker does not answer")
        if self.refuses:
            raise Forbidden("not granted")
        return Grant(
            model="default/any",
            source=desired.source or "oci://registry.example.com/models/any:v1",
            revision=desired.revision,
            namespaces=list(self.namespaces),
            current=self.current in ("", desired.revision),
            credential=SourceCredential(host="registry.example.com", username="user", password=SECRET),
        )


@dataclass
class FakeLogins:
    """A source that knows one login: ``user`` with ``SECRET``. ``away`` makes it answer nobody."""

    away: bool = False
    asked: int = 0

    def ask(self, grant: Grant, login: Credential) -> None:
        self.asked += 1
        if self.away:
            raise SourceUnavailable("nobody there")
        if (login.username, login.password) != ("user", SECRET):
            raise Unauthorized("wrong login")


@dataclass
class Node:
    """The agent's parts around one store, without servers."""

    store: Store
    fetch: FakeFetch
    broker: FakeBroker
    changed: Changed
    grants: Grants
    pulls: Pulls
    registry: FakeLogins
    preload: Preload

    @classmethod
    def of(cls, store: Store, *, slots: int = 2) -> Node:
        broker, changed = FakeBroker(), Changed()
        grants = Grants(store.root, ask=broker.grant)
        fetch = FakeFetch(store)
        pulls = Pulls(store, grants=grants, fetch=fetch, slots=slots, changed=changed, metrics=Metrics())
        preload = Preload(store, limit_bytes=0, on_bytes=lambda _: None)
        return cls(store, fetch, broker, changed, grants, pulls, FakeLogins(), preload)

    def publications(self) -> Publications:
        """Anew from the disk, as after a restart of the agent."""
        logins = Logins(self.store.root, changed=self.changed, ask=self.registry.ask)
        return Publications(
            self.store, pulls=self.pulls, grants=self.grants, logins=logins, preload=self.preload, changed=self.changed
        )

    def state(self, desired: Desired) -> str:
        status = self.pulls.status(desired.key)
        return status.state if status else ""

    def reason(self, desired: Desired) -> str:
        status = self.pulls.status(desired.key)
        return status.reason if status else ""


def failure(kind: type[WarmsetError]) -> WarmsetError:
    return kind(f"{kind.__name__} of a test")
