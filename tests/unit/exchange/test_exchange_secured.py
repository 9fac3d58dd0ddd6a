"""Nodes that prove themselves to each other share a pull as others do; who cannot, pulls alone. Over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.reference import parse_reference
from cache.exchange import run
from cache.exchange.authority.access import Access
from cache.exchange.authority.admission import Capabilities, SharedKey
from cache.exchange.authority.capability import Signer
from cache.exchange.authority.identity import Identity
from cache.exchange.authority.tls import PeerTls
from cache.exchange.group import Contact, Contacts, Group
from cache.origin import Origin
from cache.sources.artifact import Filter
from tests.support.exchange_group import Model, Node, free_address, pull_together
from tests.support.fake_registry import FakeRegistry

SIGNER = Signer(Ed25519PrivateKey.generate())
STRANGER = Signer(Ed25519PrivateKey.generate())


@pytest.fixture
def model() -> Iterator[Model]:
    with FakeRegistry() as registry:
        yield Model(registry)


def a_key() -> PeerTls:
    return PeerTls(Identity(Ed25519PrivateKey.generate()))


class Cohort:
    """Nodes with seats and keys of their own, as a broker tells of them."""

    def __init__(self, stack: ExitStack, folder: Path, model: Model) -> None:
        self._stack = stack
        self._folder = folder
        self._exchange = Origin(parse_reference(model.pinned), Filter()).exchange
        self.contacts: dict[str, Contact] = {}
        self.nodes: list[Node] = []

    def add(
        self, seat: int | None, *, seats: int, signer: Signer = SIGNER, known: dict[str, Contact] | None = None
    ) -> Node:
        """``known`` are the members that the node knows of when it begins; by default all there are so far."""
        tls, address = a_key(), free_address()

        def capability() -> str:
            return signer.sign(client=tls.identity.key, exchange=self._exchange, now=time.time())

        group = Group(
            members=tuple(str(number) for number in range(seats)),
            me=None if seat is None else str(seat),
            contacts=Contacts(self.contacts if known is None else known),
            access=Access(tls, capability),
        )
        admission = Capabilities(lambda: {SIGNER.id: SIGNER.private.public_key()})
        folder = self._folder / f"node-{len(self.nodes)}"
        node = self._stack.enter_context(Node(folder, me=address, group=group, admission=admission))
        self.nodes.append(node)
        if seat is not None:
            self.contacts[str(seat)] = Contact(address, tls.identity.key, f"node-{seat}")
        return node

    def introduce(self) -> None:
        """Tell all nodes of all others."""
        for node in self.nodes:
            node.exchanges.group.contacts.update(self.contacts)


def test_members_with_keys_of_their_own_take_one_copy_and_a_joiner_none(
    model: Model, stack: ExitStack, tmp_path: Path
) -> None:
    cohort = Cohort(stack, tmp_path, model)
    members = [cohort.add(seat, seats=3) for seat in range(3)]
    cohort.introduce()
    pull_together(members, model.pinned, plain_http=model.registry.host)
    model.check(members)
    assert model.sent <= 1.1 * model.size
    before = len(model.registry.seen)
    joiner = cohort.add(None, seats=3)
    pull_together([joiner], model.pinned, plain_http=model.registry.host)
    model.check([joiner])
    assert len(model.registry.seen) == before


def test_a_node_whose_capability_nobody_signed_takes_its_own_copy(
    model: Model, stack: ExitStack, tmp_path: Path
) -> None:
    cohort = Cohort(stack, tmp_path, model)
    honest = cohort.add(0, seats=2)
    pull_together([honest], model.pinned, plain_http=model.registry.host)
    sent = model.sent
    other = cohort.add(1, seats=2, signer=STRANGER)
    cohort.introduce()
    pull_together([other], model.pinned, plain_http=model.registry.host)
    model.check([honest, other])
    assert model.sent - sent >= model.size


def test_an_address_that_somebody_else_has_by_now_is_nobody(model: Model, stack: ExitStack, tmp_path: Path) -> None:
    cohort = Cohort(stack, tmp_path, model)
    squatter = cohort.add(0, seats=2)
    pull_together([squatter], model.pinned, plain_http=model.registry.host)
    sent = model.sent
    cohort.contacts["0"] = Contact(squatter.address, a_key().identity.key, "node-0")
    other = cohort.add(1, seats=2)
    pull_together([other], model.pinned, plain_http=model.registry.host)
    model.check([other])
    assert model.sent - sent >= model.size


def test_members_that_become_known_during_the_pull_take_part(model: Model, stack: ExitStack, tmp_path: Path) -> None:
    cohort = Cohort(stack, tmp_path, model)
    holder = cohort.add(0, seats=1)
    cohort.introduce()
    pull_together([holder], model.pinned, plain_http=model.registry.host)
    model.registry.seen.clear()
    joiner = cohort.add(None, seats=1, known={})
    introduction = threading.Timer(1.5, cohort.introduce)
    introduction.start()
    pull_together([joiner], model.reference, plain_http=model.registry.host)
    introduction.join(10)
    model.check([joiner])
    assert model.sent == 0


def test_a_joiner_that_finds_nobody_reads_the_source(
    model: Model, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "DESERTED_S", 0.5)
    cohort = Cohort(stack, tmp_path, model)
    cohort.contacts["0"] = Contact(free_address(), a_key().identity.key, "node-0")
    joiner = cohort.add(None, seats=2)
    pull_together([joiner], model.pinned, plain_http=model.registry.host)
    model.check([joiner])


def test_a_group_with_one_key_takes_one_copy_and_who_has_another_gets_nothing_of_it(
    model: Model, stack: ExitStack, tmp_path: Path
) -> None:
    shared, other = a_key(), a_key()
    addresses = [free_address() for _ in range(3)]

    def member(number: int, tls: PeerTls) -> Node:
        group = Group.listed(addresses, me=addresses[number], access=Access(tls))
        admission = SharedKey(tls.identity.key)
        return stack.enter_context(Node(tmp_path / str(number), me=addresses[number], group=group, admission=admission))

    members = [member(0, shared), member(1, shared)]
    pull_together(members, model.pinned, plain_http=model.registry.host)
    model.check(members)
    assert model.sent <= 1.35 * model.size  # the third one is not there: successors bring its chunks
    sent = model.sent
    outsider = member(2, other)
    pull_together([outsider], model.pinned, plain_http=model.registry.host)
    model.check([outsider])
    assert model.sent - sent >= model.size
