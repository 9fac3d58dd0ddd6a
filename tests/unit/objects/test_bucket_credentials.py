"""Credentials of buckets: made of what a Secret holds, and named without a word of it where they are none."""

from __future__ import annotations

import json

import obstore
import pytest

from api.errors import InvalidRequest
from cache.sources import Credential, SourceOptions
from cache.sources.objects.buckets import open_bucket
from tests.support.google_key import service_account
from tests.unit.objects.conftest import Web

CANARY = "hunter2-canary"


def options(**fields: str) -> SourceOptions:
    return SourceOptions(Credential("models", **fields))


@pytest.mark.parametrize(
    ("scheme", "fields"),
    [
        ("s3", {"username": "AKIA", "password": CANARY, "endpoint": "https://minio.corp.example", "region": "eu-1"}),
        ("s3", {"username": "AKIA", "password": CANARY, "identity_token": CANARY}),
        ("az", {"username": "team", "password": "c2VjcmV0"}),
        ("az", {"username": "team", "identity_token": "sv=2022-11-02&ss=b&sig=abc%3D"}),
    ],
)
def test_a_bucket_is_opened_with_it(scheme: str, fields: dict[str, str]) -> None:
    assert CANARY not in repr(open_bucket(scheme, "models", options=options(**fields), environ={}))


@pytest.mark.parametrize(
    ("scheme", "fields"),
    [
        ("gs", {"password": CANARY}),
        ("gs", {"password": json.dumps({"type": "service_account", "private_key": CANARY})}),
        ("gs", {"password": json.dumps({"private_key": CANARY, "private_key_id": "k", "client_email": "a@b"})}),
        ("az", {"username": "team", "password": f"{CANARY}%%"}),
        ("az", {"username": "team", "identity_token": f"%%{CANARY}"}),
    ],
)
def test_what_is_no_credential_is_named_and_not_quoted(scheme: str, fields: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=f"{scheme}://models") as caught:
        open_bucket(scheme, "models", options=options(**fields), environ={})
    assert CANARY not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.parametrize("endpoint", ["", "https://storage.corp.example"])
def test_a_google_key_does_not_say_where_to_connect(endpoint: str) -> None:
    """The library would follow ``gcs_base_url``, to wherever whoever wrote the Secret pleases."""
    given = options(password=service_account(gcs_base_url="https://10.0.0.1"))
    bucket = open_bucket("gs", "models", options=given, environ={"GOOGLE_BASE_URL": endpoint})
    assert bucket.config["base_url"] == (endpoint or "https://storage.googleapis.com")


@pytest.mark.parametrize("fields", [{"password": "c2VjcmV0"}, {"identity_token": "sv=1&sig=abc%3D"}])
def test_a_node_s_own_azure_token_serves_no_secret(
    web: Web, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_TOKEN", CANARY)
    login = Credential("models", username="team", endpoint=f"http://{web.host}", **fields)
    given = SourceOptions(login, plain_http=frozenset({web.host}))
    with pytest.raises(Exception, match="MicrosoftAzure"):
        obstore.list(open_bucket("az", "models", options=given)).collect()
    assert web.authorizations
    assert not any(CANARY in sent for sent in web.authorizations)


@pytest.mark.parametrize(
    ("scheme", "fields"),
    [
        ("az", {"username": "127.0.0.1:1/x?", "password": "c2VjcmV0"}),
        ("s3", {"username": "AKIA", "password": CANARY, "region": "x@127.0.0.1:1/"}),
    ],
)
def test_no_part_of_a_credential_becomes_another_host(scheme: str, fields: dict[str, str]) -> None:
    """The library makes addresses of an account's and a region's name, whatever they hold."""
    with pytest.raises(InvalidRequest, match=f"{scheme}://models"):
        open_bucket(scheme, "models", options=options(**fields), environ={})


def test_a_node_s_own_google_token_serves_no_secret() -> None:
    """The library would send it in place of the Secret's key, and has no setting against that."""
    given = options(password=service_account())
    with pytest.raises(InvalidRequest, match="GOOGLE_BEARER_TOKEN") as caught:
        open_bucket("gs", "models", options=given, environ={"GOOGLE_BEARER_TOKEN": CANARY})
    assert CANARY not in f"{caught.value}{caught.value.hint}"
