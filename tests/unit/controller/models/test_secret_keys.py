"""Secrets of sources that are no registries: which keys they have, whom they are for, and that nothing is quoted."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from api.errors import Forbidden, InvalidRequest, Unauthorized
from api.reference import parse_reference
from controller.config import Sources
from controller.models.credentials import for_host

CANARY = "hunter2-canary"
S3 = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": CANARY}
AZURE = {"AZURE_STORAGE_ACCOUNT_NAME": "team", "AZURE_STORAGE_ACCOUNT_KEY": CANARY}


def secret(hosts: str = "", **data: str) -> dict[str, Any]:
    annotations = {"annotations": {"warmset.dev/hosts": hosts}} if hosts else {}
    encoded = {key.replace("__", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"name": "login", **annotations}, "data": encoded}


@pytest.mark.parametrize(
    ("source", "data", "expected"),
    [
        ("hf://org/name", {"HF_TOKEN": f"{CANARY}\n"}, {"host": "huggingface.co", "identity_token": CANARY}),
        ("s3://models/llama", S3, {"host": "models", "username": "AKIA", "password": CANARY}),
        (
            "s3://models/llama",
            {**S3, "AWS_SESSION_TOKEN": "t", "AWS_ENDPOINT_URL": "https://minio.corp", "AWS_REGION": "eu-west-1"},
            {"identity_token": "t", "endpoint": "https://minio.corp", "region": "eu-west-1"},
        ),
        ("gs://models/llama", {"service-account__json": CANARY}, {"host": "models", "password": CANARY}),
        (
            "az://models/llama",
            AZURE,
            {"username": "team", "password": CANARY},
        ),
        (
            "az://models/llama",
            {"AZURE_STORAGE_ACCOUNT_NAME": "team", "AZURE_STORAGE_SAS_TOKEN": CANARY},
            {"username": "team", "password": "", "identity_token": CANARY},
        ),
        (
            "az://models/llama",
            {**AZURE, "AZURE_STORAGE_ENDPOINT": "https://team.blob.core.usgovcloudapi.net"},
            {"endpoint": "https://team.blob.core.usgovcloudapi.net"},
        ),
        ("https://models/llama.gguf", {"token": CANARY}, {"host": "models", "identity_token": CANARY}),
        ("https://models/l.gguf", {"username": "u", "password": CANARY}, {"username": "u", "password": CANARY}),
    ],
)
def test_keys_are_those_of_the_services_own_tools(
    source: str, data: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = for_host(secret("models", **data), parse_reference(source), name="team/login")
    assert {key: getattr(found, key) for key in expected} == expected
    assert CANARY not in repr(found)


def test_a_hub_s_token_is_for_the_hub_that_the_administrator_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.corp.example:8443")
    found = for_host(secret(HF_TOKEN=CANARY), parse_reference("hf://org/name"), name="x")
    assert found.host == "hub.corp.example:8443"


@pytest.mark.parametrize("source", ["s3://theirs/x", "gs://theirs/x", "az://theirs/x", "https://theirs/x"])
@pytest.mark.parametrize("hosts", ["", "models", "models, their", "*.example"])
def test_a_secret_goes_nowhere_that_its_owner_did_not_name(source: str, hosts: str) -> None:
    """Who may write a Model may not read Secrets: naming one for a host of one's own must not show it."""
    with pytest.raises(Unauthorized) as refused:
        for_host(secret(hosts, token=CANARY, **S3), parse_reference(source), name="team/login")
    assert refused.value.hint.endswith("kubectl annotate secret login warmset.dev/hosts=theirs")


@pytest.mark.parametrize("hosts", ["theirs", "models, theirs", "the*"])
def test_several_hosts_may_be_named(hosts: str) -> None:
    assert for_host(secret(hosts, **S3), parse_reference("s3://theirs/x"), name="team/login").host == "theirs"


@pytest.mark.parametrize(
    ("source", "data", "says"),
    [
        ("hf://org/name", {}, "HF_TOKEN"),
        ("s3://models/x", {"AWS_ACCESS_KEY_ID": "AKIA"}, "AWS_SECRET_ACCESS_KEY"),
        ("gs://models/x", {"key": CANARY}, "service-account.json"),
        ("az://models/x", {"AZURE_STORAGE_ACCOUNT_NAME": "team"}, "AZURE_STORAGE_ACCOUNT_KEY"),
        ("https://models/x", {"username": "u"}, "password"),
    ],
)
def test_a_missing_key_is_named(source: str, data: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        for_host(secret("models", **data), parse_reference(source), name="team/login")
    assert CANARY not in str(refused.value)


def test_what_is_no_text_is_named_and_not_quoted() -> None:
    broken = {"metadata": {}, "data": {"HF_TOKEN": CANARY}}
    with pytest.raises(InvalidRequest, match="HF_TOKEN") as refused:
        for_host(broken, parse_reference("hf://org/name"), name="team/login")
    assert CANARY not in f"{refused.value}{refused.value.__cause__}"


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("", True),
        ("https://minio.corp.example", True),
        ("https://minio.corp.example:9000", False),
        ("http://minio.corp.example", False),
        ("http://plain.corp.example:9000", True),
        ("https://169.254.169.254", False),
        ("https://anywhere.example", False),
        ("ftp://minio.corp.example", False),
    ],
)
def test_an_endpoint_of_a_secret_must_be_one_that_the_administrator_names(endpoint: str, allowed: bool) -> None:
    sources = Sources(hosts=("*", "*.corp.example"), plain_http=("plain.corp.example:9000",))
    if allowed:
        sources.check_endpoint(endpoint)
    else:
        with pytest.raises(Forbidden, match="endpoint"):
            sources.check_endpoint(endpoint)
