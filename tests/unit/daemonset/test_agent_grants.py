"""Who may use a model: asked, remembered without secrets, and asked again."""

from __future__ import annotations

import asyncio

import pytest

import daemonset.authority.grants
from api.errors import ClusterUnavailable, Forbidden
from cache.store import Store
from daemonset.authority.grants import Grants
from tests.unit.daemonset.doubles import SECRET, FakeBroker, wanted

LLAMA = wanted("llama")


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def grants(store: Store, broker: FakeBroker) -> Grants:
    return Grants(store.root, ask=broker.grant)


async def test_a_pull_gets_the_credential_and_the_disk_never_does(store: Store, grants: Grants) -> None:
    grant = await grants.for_pull(LLAMA)
    assert grant.credential is not None
    assert grant.credential.password == SECRET
    written = [path for path in store.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert written == []
    assert SECRET not in repr(grant)


async def test_a_fresh_grant_is_not_asked_for_again(grants: Grants, broker: FakeBroker) -> None:
    await grants.for_pull(LLAMA)
    assert await grants.allows(LLAMA, namespace="default")
    assert broker.asked == 1


async def test_a_namespace_that_was_added_since_is_found_by_asking(
    grants: Grants, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemonset.authority.grants, "AGAIN_S", 0.0)
    await grants.for_pull(LLAMA)
    assert not await grants.allows(LLAMA, namespace="other")
    broker.namespaces = ["other"]
    assert await grants.allows(LLAMA, namespace="other")


async def test_a_namespace_that_was_taken_away_is_refused_once_the_grant_is_old(
    grants: Grants, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.namespaces = ["other"]
    await grants.for_pull(LLAMA)
    broker.namespaces = []
    monkeypatch.setattr(daemonset.authority.grants, "FRESH_S", 0.0)
    assert not await grants.allows(LLAMA, namespace="other")


async def test_a_grant_that_the_broker_withdraws_is_forgotten_on_disk_too(
    store: Store, grants: Grants, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await grants.for_pull(LLAMA)
    broker.refuses = True
    monkeypatch.setattr(daemonset.authority.grants, "FRESH_S", 0.0)
    assert not await grants.allows(LLAMA, namespace="default")
    assert not await Grants(store.root, ask=FakeBroker(away=True).grant).allows(LLAMA, namespace="default")


async def test_while_the_broker_is_away_the_remembered_answer_counts_and_it_is_left_alone(
    store: Store, grants: Grants
) -> None:
    await grants.for_pull(LLAMA)
    away = FakeBroker(away=True)
    later = Grants(store.root, ask=away.grant)
    assert await later.allows(LLAMA, namespace="default")
    assert not await later.allows(LLAMA, namespace="other")
    assert away.asked == 1


async def test_many_calls_of_a_stranger_do_not_ask_the_broker_each_time(grants: Grants, broker: FakeBroker) -> None:
    for _ in range(5):
        assert not await grants.allows(LLAMA, namespace="stranger")
    assert broker.asked == 1


async def test_a_file_that_cannot_be_read_grants_nothing(store: Store, grants: Grants) -> None:
    await grants.for_pull(LLAMA)
    (path,) = (store.root / "grants").iterdir()
    path.write_bytes(b"{")
    later = Grants(store.root, ask=FakeBroker(away=True).grant)
    assert not await later.allows(LLAMA, namespace="default")


async def test_a_pull_without_the_broker_fails_with_its_reason(store: Store) -> None:
    with pytest.raises(ClusterUnavailable):
        await Grants(store.root, ask=FakeBroker(away=True).grant).for_pull(LLAMA)


async def test_a_pull_believes_a_refusal_only_when_it_is_repeated(
    grants: Grants, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemonset.authority.grants, "REFUSED_PAUSE_S", 0.05)
    broker.refuses = True
    with pytest.raises(Forbidden):
        await grants.for_pull(LLAMA)
    assert broker.asked == 3
    pulling = asyncio.create_task(grants.for_pull(LLAMA))
    await asyncio.sleep(0.02)
    broker.refuses = False
    assert await pulling
