"""Pulls from fake-gcs-server, which believes everybody, ignores If-Match and answers 500 for a missing bucket."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.errors import NotFound, SourceChanged
from cache.pull import Pulled
from cache.sources import Credential, SourceOptions
from cache.store import Store
from tests.support.cloud_emulators import HOW_TO_GET, FakeGcs, start_fake_gcs
from tests.support.google_key import service_account
from tests.support.object_store import FILES, LAPTOP, bring_objects, check_overwritten_is_said, check_the_command_pulls
from tests.support.processes import find_binary
from tests.support.pulling import contents

pytestmark = pytest.mark.skipif(find_binary("fake-gcs-server") is None, reason=HOW_TO_GET["fake-gcs-server"])

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    server = start_fake_gcs(tmp_path_factory.mktemp("google"))
    yield server
    server.server.stop()


@pytest.fixture
def bucket(google: FakeGcs, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket with FILES below llama/v1, and an environment that lets its user in."""
    name = f"models-{next(NUMBERS)}"
    google.make_bucket(name)
    for path, content in FILES.items():
        google.put(name, f"llama/v1/{path}", content)
    monkeypatch.setenv("GOOGLE_BASE_URL", google.endpoint)
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", service_account())
    return name


def bring(store: Store, bucket: str, path: str = "llama/v1", options: SourceOptions = LAPTOP) -> Pulled:
    return bring_objects(store, f"gs://{bucket}/{path}", options=options)


def test_a_prefix_is_a_folder_and_an_object_alone_a_file(store: Store, bucket: str) -> None:
    assert contents(bring(store, bucket).path) == FILES
    assert bring(store, bucket).bytes_origin == 0
    assert contents(bring(store, bucket, "llama/v1/config.json").path) == {"config.json": b"{}"}


@pytest.mark.parametrize("length", [1, 25_600_000, 30_000_000])
def test_an_object_overwritten_under_a_pull_is_said(google: FakeGcs, bucket: str, length: int) -> None:
    check_overwritten_is_said(
        f"gs://{bucket}/llama/v1",
        overwrite=lambda path, _: google.put(bucket, f"llama/v1/{path}", bytes(length)),
    )


def test_a_pinned_revision_that_is_gone_is_said(store: Store, google: FakeGcs, bucket: str) -> None:
    revision = bring(store, bucket).revision
    google.put(bucket, "llama/v1/config.json", b"new")
    with pytest.raises(SourceChanged):
        bring(store, bucket, f"llama/v1@{revision}")


def test_a_prefix_that_is_not_there_is_said(store: Store, bucket: str) -> None:
    with pytest.raises(NotFound):
        bring(store, bucket, "llama/v2")


def test_in_a_cluster_the_secret_s_key_goes_where_the_administrator_says(
    store: Store, google: FakeGcs, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT_KEY")
    given = Credential(bucket, password=service_account(gcs_base_url="https://127.0.0.1:1"))
    options = SourceOptions(given, plain_http=frozenset({google.host}))
    assert contents(bring(store, bucket, options=options).path) == FILES


@pytest.mark.parametrize("variable", ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"])
def test_the_command_reads_the_user_s_environment(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """The key as a file this time."""
    key = tmp_path / "key.json"
    key.write_text(os.environ["GOOGLE_SERVICE_ACCOUNT_KEY"])
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT_KEY")
    monkeypatch.setenv(variable, str(key))
    check_the_command_pulls(f"gs://{bucket}/llama/v1", folder=tmp_path)
