"""The credential of a source's host out of a Secret, and nothing of the Secret in any message."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from api.errors import InvalidRequest, Unauthorized
from api.reference import parse_reference
from controller.credentials import for_host

PASSWORD = "hunter2-canary"
REFERENCE = parse_reference("oci://r.example:5000/models/llama:v1")


def secret(config: Any) -> dict[str, Any]:
    text = config if isinstance(config, str) else json.dumps(config)
    return {"data": {".dockerconfigjson": base64.b64encode(text.encode()).decode()}}


def auth(user: str = "reader") -> str:
    return base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    "entry", [{"auth": auth()}, {"username": "reader", "password": PASSWORD}, {"auth": auth(), "username": "ignored"}]
)
def test_the_entry_of_the_sources_host_is_taken(entry: dict[str, str]) -> None:
    config = {"auths": {"other.example": {"auth": auth("other")}, "r.example:5000": entry}}
    found = for_host(secret(config), REFERENCE, name="team/login")
    assert (found.host, found.username, found.password) == ("r.example:5000", "reader", PASSWORD)


def test_a_server_may_be_written_as_an_address() -> None:
    config = {"auths": {"https://r.example:5000/v2/": {"identitytoken": "token"}}}
    assert for_host(secret(config), REFERENCE, name="x").identity_token == "token"


def test_docker_hub_has_several_names() -> None:
    config = {"auths": {"https://index.docker.io/v1/": {"auth": auth()}}}
    found = for_host(secret(config), parse_reference("oci://docker.io/library/x:1"), name="x")
    assert found.username == "reader"


def test_another_hosts_login_is_never_given() -> None:
    with pytest.raises(Unauthorized) as refused:
        for_host(secret({"auths": {"r.example": {"auth": auth()}}}), REFERENCE, name="team/login")
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"data": {}},
        {"data": {".dockerconfigjson": "%%%"}},
        secret(PASSWORD),
        secret({"auths": [PASSWORD]}),
        secret({"auths": {"r.example:5000": PASSWORD}}),
        secret({"auths": {"r.example:5000": {"auth": PASSWORD}}}),
    ],
)
def test_an_unreadable_secret_is_named_and_not_quoted(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        for_host(broken, REFERENCE, name="team/login")
    assert "team/login" in refused.value.message
    assert PASSWORD not in f"{refused.value} {refused.value.__cause__}"
