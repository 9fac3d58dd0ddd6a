"""Pulls from Azure's own emulator."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.broker import Grant
from api.errors import Forbidden, NotFound, SourceChanged
from api.reference import parse_reference
from cache.pull import Pulled
from cache.sources import Credential, SourceOptions
from cache.store import Store
from controller.models.credentials import for_host
from daemonset.pulling.fetch import source_options
from tests.support.cloud_emulators import ACCOUNT, ACCOUNT_KEY, HOW_TO_GET, Azurite, start_azurite
from tests.support.object_store import FILES, LAPTOP, bring_objects, check_overwritten_is_said, check_the_command_pulls
from tests.support.processes import find_binary
from tests.support.pulling import contents

pytestmark = pytest.mark.skipif(find_binary("azurite-blob") is None, reason=HOW_TO_GET["azurite-blob"])

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    server = start_azurite(tmp_path_factory.mktemp("azurite"))
    yield server
    server.server.stop()


@pytest.fixture
def container(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh container with FILES below llama/v1, and an environment that lets its user in."""
    name = f"models-{next(NUMBERS)}"
    azurite.make_container(name)
    for path, content in FILES.items():
        azurite.put(name, f"llama/v1/{path}", content)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azurite.endpoint)
    return name


def bring(store: Store, container: str, path: str = "llama/v1", options: SourceOptions = LAPTOP) -> Pulled:
    return bring_objects(store, f"az://{container}/{path}", options=options)


def test_a_prefix_is_a_folder_and_an_object_alone_a_file(store: Store, container: str) -> None:
    assert contents(bring(store, container).path) == FILES
    assert bring(store, container).bytes_origin == 0
    assert contents(bring(store, container, "llama/v1/config.json").path) == {"config.json": b"{}"}


def test_an_object_overwritten_under_a_pull_is_said(azurite: Azurite, container: str) -> None:
    check_overwritten_is_said(
        f"az://{container}/llama/v1",
        overwrite=lambda path, size: azurite.put(container, f"llama/v1/{path}", bytes(size)),
    )


def test_a_pinned_revision_that_is_gone_is_said(store: Store, azurite: Azurite, container: str) -> None:
    revision = bring(store, container).revision
    azurite.put(container, "llama/v1/config.json", b"new")
    with pytest.raises(SourceChanged):
        bring(store, container, f"llama/v1@{revision}")


def test_a_container_that_is_not_there_is_said(store: Store, container: str) -> None:
    with pytest.raises(NotFound):
        bring(store, "no-such-container")


def secret(**data: str) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"annotations": {"warmset.dev/hosts": "models-*"}}, "data": encoded}


def test_in_a_cluster_a_secret_names_account_key_and_service(
    store: Store, azurite: Azurite, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the Secret's keys to the bytes on a node, by way of the grant that carries them."""
    keys = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ENDPOINT")
    data = {key: os.environ[key] for key in keys}
    for key in keys:
        monkeypatch.delenv(key)
    source = f"az://{container}/llama/v1"
    found = for_host(secret(**data), parse_reference(source), name="team/az")
    grant = Grant(model="team/llama", source=source, revision="", credential=found, plain_http=True)
    assert contents(bring(store, container, options=source_options(grant, ambient=False)).path) == FILES


@pytest.mark.parametrize(
    "login", [{"password": "d3Jvbmc="}, {"identity_token": "sv=2021-08-06&sr=c&sp=rl&se=2099-01-01&sig=d3Jvbmc%3D"}]
)
def test_a_wrong_key_or_signature_is_said_and_not_quoted(
    store: Store, azurite: Azurite, container: str, login: dict[str, str]
) -> None:
    given = Credential(container, username=ACCOUNT, endpoint=azurite.endpoint, **login)
    options = SourceOptions(given, plain_http=frozenset({azurite.host}))
    with pytest.raises(Forbidden, match="AuthorizationFailure") as caught:  # Azure itself: AuthenticationFailed
        bring(store, container, options=options)
    assert "d3Jvbmc" not in f"{caught.value}{caught.value.__cause__}"


def test_the_command_reads_the_user_s_environment(container: str, tmp_path: Path) -> None:
    check_the_command_pulls(f"az://{container}/llama/v1", folder=tmp_path)
