"""With whom an agent shares a pull: as the broker says, for as long as the pull lasts, and with nobody without it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import keys
from api.broker import Cohort, CohortRequest, Grant, Peer
from api.errors import ClusterUnavailable, InvalidRequest, NotFound, SourceUnavailable
from cache.exchange.authority.capability import Signer, write_keys
from cache.exchange.authority.identity import Identity, read_or_make
from cache.exchange.authority.tls import PeerTls
from cache.exchange.group import Contact, Contacts, Exchanges, Group
from cache.store import Store
from daemonset.config import load
from daemonset.sharing import cohorts
from daemonset.sharing.cohorts import Cohorts
from daemonset.sharing.exchanges import KEY_FILE, SignersFile, sharing_of

GRANT = Grant(model="team-a/llama", source="oci://registry.example.com/llama:v1", revision="sha256:1")
COHORT = "0123456789abcdef"
PEERS = [Peer(seat=n, node=f"node-{n}", address=f"10.0.0.{n}:9820", key=f"{n}" * 64) for n in (1, 2)]


def members(cohort: str, count: int) -> tuple[str, ...]:
    return tuple(f"{cohort}/{number}" for number in range(count))


class Broker:
    """``answer`` may be replaced at any time, by an error too."""

    def __init__(self) -> None:
        self.answer: Cohort | Exception = Cohort(seat=f"{COHORT}/0/3", capability="first", peers=PEERS)
        self.asked: list[CohortRequest] = []

    async def __call__(self, request: CohortRequest) -> Cohort:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def tls() -> PeerTls:
    return PeerTls(Identity(Ed25519PrivateKey.generate()))


@pytest.fixture
async def made(broker: Broker, tls: PeerTls, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cohorts]:
    monkeypatch.setattr(cohorts, "FIRST_AGAIN_S", 0.05)
    monkeypatch.setattr(cohorts, "TICK_S", 0.02)
    monkeypatch.setattr(cohorts, "REFRESH_S", 0.05)
    exchanges = Exchanges(Group((), None, Contacts({})))
    made = Cohorts(broker, tls=tls, exchanges=exchanges, loop=asyncio.get_running_loop())
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()


async def in_pull(made: Cohorts, look: Callable[[Group | None], None]) -> None:
    """As the thread of a pull that is shared has it."""

    def body() -> None:
        with made.joined(GRANT) as exchanges:
            look(exchanges.group if exchanges else None)

    await asyncio.to_thread(body)


async def test_the_broker_s_cohort_is_the_group(made: Cohorts, broker: Broker, tls: PeerTls) -> None:
    groups: list[Group | None] = []
    await in_pull(made, groups.append)
    (group,) = groups
    assert group is not None
    assert (group.members, group.me, group.others) == (members(COHORT, 3), f"{COHORT}/0", members(COHORT, 3)[1:])
    assert group.contacts.reach(f"{COHORT}/1") == Contact("10.0.0.1:9820", "1" * 64, "node-1")
    assert group.contacts.known_as(f"{COHORT}/1") == "node-1"
    assert group.access is not None
    assert group.access.capability() == "first"
    assert broker.asked == [
        CohortRequest(model=keys.model_key("team-a", "llama"), revision="sha256:1", key=tls.identity.key)
    ]


async def test_a_node_that_came_later_owns_nothing(made: Cohorts, broker: Broker) -> None:
    broker.answer = Cohort(seat=f"{COHORT}/-/3", capability="first", peers=PEERS)
    groups: list[Group | None] = []
    await in_pull(made, groups.append)
    (group,) = groups
    assert group is not None
    assert (group.me, group.others) == (None, members(COHORT, 3))
    with pytest.raises(SourceUnavailable):
        group.contacts.reach(f"{COHORT}/0")


async def test_the_cohort_above_is_part_of_it(made: Cohorts, broker: Broker) -> None:
    above = "f" * 16
    broker.answer = Cohort(seat=f"{COHORT}/0/1/{above}/2", capability="first", above=PEERS[:1])
    groups: list[Group | None] = []
    await in_pull(made, groups.append)
    (group,) = groups
    assert group is not None
    assert (group.members, group.above, group.others) == (members(COHORT, 1), members(above, 2), members(above, 2))
    assert group.contacts.known_as(f"{above}/1") == "node-1"


@pytest.mark.parametrize(
    "answer",
    [NotFound("in no cohort"), ClusterUnavailable("away"), Cohort(seat="nonsense", capability="")],
    ids=["no cohort", "no broker", "no sense"],
)
async def test_without_a_cohort_it_pulls_alone(made: Cohorts, broker: Broker, answer: Cohort | Exception) -> None:
    broker.answer = answer
    groups: list[Group | None] = []
    await in_pull(made, groups.append)
    assert groups == [None]


async def test_a_broker_that_takes_too_long_is_not_waited_for(
    made: Cohorts, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohorts, "ASK_S", 0.1)
    for_ever = asyncio.Event()

    async def hang(_: CohortRequest) -> Cohort:
        await for_ever.wait()
        raise AssertionError

    monkeypatch.setattr(made, "_ask", hang)
    groups: list[Group | None] = []
    await in_pull(made, groups.append)
    assert groups == [None]


async def test_what_changes_during_the_pull_is_learnt_and_after_it_nobody_asks(made: Cohorts, broker: Broker) -> None:
    changed, seen = threading.Event(), threading.Event()

    def look(group: Group | None) -> None:
        assert group is not None
        assert group.access is not None
        changed.wait(20)
        for _ in range(1000):
            if group.access.capability() == "second" and group.contacts.reach(f"{COHORT}/1").address == "10.0.0.9:9820":
                seen.set()
                return
            threading.Event().wait(0.02)

    pull = asyncio.create_task(in_pull(made, look))
    while not broker.asked:
        await asyncio.sleep(0.01)
    broker.answer = ClusterUnavailable("away for a moment")
    await asyncio.sleep(0.2)
    moved = Peer(seat=1, node="node-1", address="10.0.0.9:9820", key="1" * 64)
    broker.answer = Cohort(seat=f"{COHORT}/0/3", capability="second", peers=[moved])
    changed.set()
    await pull
    assert seen.is_set()
    await asyncio.sleep(0.05)  # what is under way
    asked = len(broker.asked)
    await asyncio.sleep(0.3)
    assert len(broker.asked) == asked


def test_signing_keys_are_read_anew_when_the_file_changes_and_outlast_its_absence(tmp_path: Path) -> None:
    signers = [Signer(Ed25519PrivateKey.generate()) for _ in range(2)]
    public = [{signer.id: signer.private.public_key()} for signer in signers]
    path = tmp_path / "exchange.keys"
    file = SignersFile(path)
    assert file.keys() == {}
    path.write_text(write_keys(public[0]))
    assert file.keys().keys() == {signers[0].id}
    new = tmp_path / "new"  # kubelet swaps a link to another folder
    new.write_text(write_keys(public[0] | public[1]))
    new.rename(path)
    assert file.keys().keys() == {signers[0].id, signers[1].id}
    path.write_text("not a key\n")
    assert len(file.keys()) == 2
    path.unlink()
    assert len(file.keys()) == 2


CLUSTER = {
    "broker": {"url": "https://broker:9443", "ca_file": "/ca", "token_file": "/token"},
    "exchange": {"listen": "0.0.0.0:9820", "signers_file": "/keys"},
}


async def test_an_agent_in_a_cluster_keeps_its_key_in_its_store(tmp_path: Path) -> None:
    config = load(None, options={"root": str(tmp_path), "cluster": CLUSTER})
    with Store.open(tmp_path) as store:
        sharing = sharing_of(config, store=store)
        assert sharing is not None
        assert sharing.key == read_or_make(tmp_path / KEY_FILE).key
        again = sharing_of(config, store=store)
        assert again is not None
        assert again.key == sharing.key


async def test_a_group_s_key_that_others_may_read_is_refused_at_start(tmp_path: Path) -> None:
    key = tmp_path / "group.key"
    key.write_bytes(Identity(Ed25519PrivateKey.generate()).private_pem)
    members = ["10.0.0.1:9820", "10.0.0.2:9820"]
    peers = {"listen": members[0], "members": members, "key_file": str(key)}
    config = load(None, options={"root": str(tmp_path / "cache"), "peers": peers})
    key.chmod(0o600)
    with Store.open(tmp_path / "cache") as store:
        sharing = sharing_of(config, store=store)
        assert sharing is not None
        assert sharing.admission is not None
        assert sharing.admission.admits(sharing.key, "", exchange="a" * 64)
        key.chmod(0o640)
        with pytest.raises(InvalidRequest, match="others"):
            sharing_of(config, store=store)


async def test_an_agent_without_peers_serves_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        assert sharing_of(load(None, options={"root": str(tmp_path)}), store=store) is None
