"""A pod's own registry login opens a private model; nothing else of a stranger does (docs/security.md)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.broker import Grant
from api.errors import Pulling
from api.node import PublishRequest
from cache.store import Store
from daemonset.authority import logins
from daemonset.authority.logins import FOLDER, TRUSTED_S, Logins
from daemonset.changed import Changed
from daemonset.publishing.publications import Publications
from tests.support.fake_registry import FakeRegistry
from tests.unit.daemonset.doubles import SECRET, Node, eventually, wanted

HOST = "registry.example.com"
ID = "a" * 64


def docker_config(*, host: str = HOST, password: str = SECRET) -> str:
    return json.dumps({"auths": {host: {"username": "user", "password": password}}})


def request(*, login: str = "", model: str = "default/llama", wait_s: float = 0.05, id_: str = ID) -> PublishRequest:
    return PublishRequest(
        id=id_, model=model, namespace="stranger", pod="pod-0", pod_uid="u", wait_s=wait_s, login=login
    )


@pytest.fixture
async def publications(node: Node) -> Publications:
    """default/llama is here, and its namespace lets nobody else mount it."""
    node.pulls.set_desired([wanted("llama")])
    await eventually(lambda: node.state(wanted("llama")) == "Ready")
    return node.publications()


async def refusal(publications: Publications, asked: PublishRequest) -> Pulling:
    with pytest.raises(Pulling) as caught:
        await publications.publish(asked)
    return caught.value


async def test_a_pod_whose_login_opens_the_source_may_mount_and_the_source_is_asked_once(
    node: Node, publications: Publications
) -> None:
    for id_ in (ID, "b" * 64):
        assert await publications.publish(request(login=docker_config(), wait_s=5.0, id_=id_))
    assert node.registry.asked == 1


@pytest.mark.parametrize(
    "login",
    ["", docker_config(password="wrong"), docker_config(host="other.example.com"), "no JSON", "[]", '{"auths": 1}'],
    ids=["none", "wrong", "of another host", "unreadable", "no configuration", "no entries"],
)
async def test_any_other_pod_gets_the_answer_for_a_model_that_does_not_exist(
    publications: Publications, login: str
) -> None:
    forbidden = await refusal(publications, request(login=login))
    absent = await refusal(publications, request(login=login, model="default/llamb"))
    assert (forbidden.message.replace("llama", "llamb"), forbidden.hint) == (absent.message, absent.hint)


async def test_while_the_source_is_away_an_unknown_login_opens_nothing(node: Node, publications: Publications) -> None:
    node.registry.away = True
    await refusal(publications, request(login=docker_config()))
    assert node.store.pins() == {}


async def test_while_the_source_is_away_a_known_login_still_opens(node: Node, publications: Publications) -> None:
    await publications.publish(request(login=docker_config(), wait_s=5.0))
    node.registry.away = True
    assert await node.publications().publish(request(login=docker_config(), id_="b" * 64))


async def test_a_login_is_asked_about_again_after_a_day(
    node: Node, publications: Publications, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publications.publish(request(login=docker_config(), wait_s=5.0))
    node.registry.away = True
    tomorrow = time.time() + TRUSTED_S
    monkeypatch.setattr(logins.time, "time", lambda: tomorrow)
    await refusal(publications, request(login=docker_config(), id_="b" * 64))
    assert node.registry.asked == 2


async def test_a_clock_that_was_ahead_opens_nothing(
    node: Node, publications: Publications, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publications.publish(request(login=docker_config(), wait_s=5.0))
    node.registry.away = True
    before = time.time() - 60.0
    monkeypatch.setattr(logins.time, "time", lambda: before)
    await refusal(publications, request(login=docker_config(), id_="b" * 64))


async def test_a_wrong_login_does_not_ask_the_source_each_time(node: Node, publications: Publications) -> None:
    for _ in range(5):
        await refusal(publications, request(login=docker_config(password="wrong")))
    assert node.registry.asked == 1


async def test_many_pods_with_one_login_ask_once(node: Node, publications: Publications) -> None:
    calls = (publications.publish(request(login=docker_config(), wait_s=5.0, id_=f"{n:064x}")) for n in range(20))
    assert len(await asyncio.gather(*calls)) == 20
    assert node.registry.asked == 1


async def test_a_new_revision_is_asked_about_anew(node: Node, publications: Publications) -> None:
    await publications.publish(request(login=docker_config(), wait_s=5.0))
    newer = wanted("llama", version="v2")
    node.pulls.set_desired([newer])
    await eventually(lambda: node.state(newer) == "Ready")
    asked = request(login=docker_config(password="wrong"), id_="b" * 64)
    asked.revision = newer.revision
    await refusal(publications, asked)
    assert node.registry.asked == 2


async def test_the_disk_holds_no_login_and_no_repository(node: Node, publications: Publications) -> None:
    await publications.publish(request(login=docker_config(), wait_s=5.0))
    files = [path for path in node.store.root.rglob("*") if path.is_file()]
    assert (node.store.root / FOLDER / "key").stat().st_mode & 0o777 == 0o600
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
    assert not [path for path in (node.store.root / FOLDER).iterdir() if b"registry" in path.read_bytes()]


async def test_a_lost_key_voids_what_was_remembered(node: Node, publications: Publications) -> None:
    await publications.publish(request(login=docker_config(), wait_s=5.0))
    (node.store.root / FOLDER / "key").unlink()
    node.registry.away = True
    await refusal(node.publications(), request(login=docker_config(), id_="b" * 64))


async def test_what_has_expired_goes_at_the_next_start(node: Node, publications: Publications) -> None:
    await publications.publish(request(login=docker_config(), wait_s=5.0))
    (remembered,) = (path for path in (node.store.root / FOLDER).iterdir() if path.name != "key")
    remembered.write_text("0.0")
    node.publications()
    assert not remembered.exists()


# -- a registry that decides ------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.auth, running.users = "basic", {"user": SECRET}
        yield running


@pytest.fixture
def grant(registry: FakeRegistry) -> Grant:
    revision = registry.add_model("models/llama", "v1", {"config.json": b"{}"})
    source = f"oci://{registry.host}/models/llama@{revision}"
    return Grant(model="default/llama", source=source, revision=str(revision), plain_http=True)


async def test_a_real_login_costs_one_manifest_and_no_blob(
    registry: FakeRegistry, grant: Grant, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "cache") as store:
        known = Logins(store.root, changed=Changed())
        assert await known.opens(grant, document=docker_config(host=registry.host))
    given = [seen for seen in registry.seen if seen.status == 200]
    assert [seen.path.rsplit("/", 1)[0] for seen in given] == ["/v2/models/llama/manifests"]


async def test_a_login_that_the_registry_refuses_opens_nothing(
    registry: FakeRegistry, grant: Grant, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "cache") as store:
        known = Logins(store.root, changed=Changed())
        assert not await known.opens(grant, document=docker_config(host=registry.host, password="wrong"))
    assert {seen.status for seen in registry.seen} == {401}
