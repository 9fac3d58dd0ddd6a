"""Credentials of buckets: made of what a Secret holds, and named without a word of it where they are none."""

from __future__ import annotations

import json

import pytest

from api.errors import InvalidRequest
from cache.sources import Credential, SourceOptions
from cache.sources.objects.cloud import open_bucket

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
